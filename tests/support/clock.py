"""A wall clock that is wrong for one process: Debian's libfaketime, preloaded."""

from functools import cache
from pathlib import Path

from tests.support.debian import install_debian, may_install

PACKAGE = "libfaketime"


class ClockMissing(RuntimeError):
    """libfaketime is neither installed nor ours to install: `apt install libfaketime`."""


def clock_off_by(hours: int) -> dict[str, str]:
    """Return the environment variables of a process whose wall clock is ahead, or with a minus behind.

    It goes on at its usual pace, and the monotonic clock stays the real one, as on a machine that is set wrong.
    Raises ClockMissing.
    """
    return {"LD_PRELOAD": str(_library()), "FAKETIME": f"{hours:+d}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@cache
def _library() -> Path:
    found = _find_library()
    if found is None and may_install():
        install_debian(PACKAGE)
        found = _find_library()
    if found is None:
        raise ClockMissing(f"a wrong clock needs Debian's package {PACKAGE}: apt install {PACKAGE}")
    return found


def _find_library() -> Path | None:
    """The variant for threads: every Python process of ours has some."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
