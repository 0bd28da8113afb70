"""A clock of its own for one process: `faketime` from Debian, installed when it is missing and we may."""

from datetime import timedelta
from pathlib import Path

from tests.support.debian import install_debian, may_install

# The build for programs with threads: every service has some.
LIBRARY = "*/faketime/libfaketimeMT.so.1"


class NoFakeClock(RuntimeError):
    """`faketime` is not installed (Debian: apt install faketime)."""


def clock_off_by(offset: timedelta) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by `offset` (whole seconds).

    Only the wall clock: monotonic time and the times of files stay real, so timers, locks and event loops keep
    working. The one thing that does not is `time.sleep` (libfaketime 0.9.10 answers EINVAL), which no service calls.
    Raises NoFakeClock when the package is missing and cannot be installed.
    """
    if not _libraries() and may_install():
        install_debian("faketime")
    libraries = _libraries()
    if not libraries:
        raise NoFakeClock(str(NoFakeClock.__doc__))
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": f"{int(offset.total_seconds()):+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def _libraries() -> list[Path]:
    return sorted(Path("/usr/lib").glob(LIBRARY))
