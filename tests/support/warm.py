"""Processes of the suite that start warm: forked from one that has imported everything, told by their environment what to be.

A run ends and starts hundreds of processes on a busy machine; reading the same modules again takes them seconds each.
What runs is the same command in a process of its own: it is killed, stopped and waited for like any other.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PRELOADED = "tests.support.warmed"
# Whoever starts a process asks all others whether they have ended, and an answer is read once.
_ASKING = threading.RLock()


def may_be_warm(environment: Mapping[str, str]) -> bool:
    """Another clock is another library under the interpreter: only a new one loads it."""
    return "LD_PRELOAD" not in environment


class WarmProcess:
    """What the harness uses of `subprocess.Popen`; `log` takes stdout, and stderr unless `errors` does."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        log: Path,
        *,
        errors: Path | None = None,
        where: Path | None = None,
    ) -> None:
        streams = str(log), str(errors or log)
        told = list(arguments), environment, streams, where and str(where)
        with _ASKING:
            process = _server().Process(target=run, args=told, daemon=True)
            process.start()
        assert process.pid is not None
        self._process: ForkServerProcess = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        with _ASKING:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("warm process", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def run(arguments: list[str], environment: dict[str, str], streams: tuple[str, str], where: str | None) -> None:
    """Be the command: `arguments` are those of `cowork`, `streams` the files of stdout and stderr."""
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, start=1):
        with Path(path).open("ab") as file:
            os.dup2(file.fileno(), number)
    if where is not None:
        os.chdir(where)
    sys.argv = ["cowork", *arguments]
    # The one module that has read the environment when it was imported.
    importlib.import_module("shared.bus.crash").arm(environment.get("COWORK_CRASH", ""))
    importlib.import_module("deploy.cli.app").main()
