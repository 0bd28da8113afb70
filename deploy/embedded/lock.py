"""One cowork at a time in a data folder: a lock that the kernel gives back when its holder ends, however that happens."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from deploy.embedded.account import PostgresError


class FolderLock:
    """The lock of `folder`; messages call it `named`, as whoever runs the command does."""

    def __init__(self, folder: Path, *, named: Path) -> None:
        self._path = folder / "lock"
        self._named = named
        self._held: TextIO | None = None

    def take(self) -> None:
        """Take the folder before anything in it is touched. Raises PostgresError when somebody else has it."""
        if not self.try_take():
            holder = self._path.read_text() or "unknown"
            raise PostgresError(
                f"another cowork (process {holder}) is at work in {self._named}: stop it first, or choose another data"
                " folder (--data)"
            )

    def try_take(self) -> bool:
        """Whether the folder is ours from now on, or was already."""
        if self._held is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited by the server: one that outlives us keeps nobody from starting again.
        held = self._path.open("a+")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return False
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        self._held = held
        return True

    def give_back(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
