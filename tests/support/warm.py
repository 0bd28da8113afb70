"""Processes of the suite that start warm: forked from one that has imported everything, told by their environment what to be.

A fault run ends and starts hundreds of processes on a busy machine; reading the same modules again takes them seconds
each. What runs is the same command in a process of its own: it is killed, stopped and waited for like any other.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

PRELOADED = "tests.support.warmed"


class WarmProcess:
    """What the harness uses of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
        process = _server().Process(target=run, args=(list(arguments), environment, str(log)), daemon=True)
        process.start()
        assert process.pid is not None
        self._process: ForkServerProcess = process
        self.pid: int = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired("warm process", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context


def run(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Be the command: `arguments` are those of `cowork`."""
    os.environ.clear()
    os.environ.update(environment)
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["cowork", *arguments]
    # The one module that has read the environment when it was imported.
    importlib.import_module("shared.bus.crash").arm(environment.get("COWORK_CRASH", ""))
    importlib.import_module("deploy.cli.app").main()
