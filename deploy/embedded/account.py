"""Whom PostgreSQL runs as: it refuses to run as root, and an unprivileged user must be able to reach its files."""

import hashlib
import os
import pwd
from pathlib import Path

ROOT_PLACE = Path("/var/lib/cowork")


class PostgresError(RuntimeError):
    """PostgreSQL could not be found, prepared or started; the message says what to do."""


def unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: return the user to drop to, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise PostgresError(
        "PostgreSQL does not run as root and there is no user `postgres` or `nobody`: run as another user"
    )


def reachable(folder: Path) -> Path:
    """Return `folder`, or, when we are root and the server's user cannot enter it, a place of its own below /var/lib.

    A clone in root's home is such a case: nobody else may pass through it.
    """
    account = unprivileged()
    if account is None or all(_is_open(parent, account) for parent in folder.parents if parent.exists()):
        return folder
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return ROOT_PLACE / f"{folder.parent.name}-{digest}"


def _is_open(folder: Path, account: pwd.struct_passwd) -> bool:
    return bool(folder.stat().st_mode & 0o001) or folder.stat().st_uid == account.pw_uid


def can_enter(path: Path, account: pwd.struct_passwd) -> bool:
    return all(_is_open(folder, account) for folder in [path, *path.parents])
