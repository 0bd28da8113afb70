"""Crash points: named places between a write, a publish, a commit and an acknowledge.

`crash("relay.after_publish")` does nothing unless COWORK_CRASH names the point: `name` or `name:n` ends the process
there, at the n-th pass, with status 70, as kill −9 would; `name%p` refuses p per cent of the passes instead, so that
the transaction around it rolls back. Fault runs arm them.
"""

import os
import random
from collections import Counter

from shared.problems import Conflict


class RolledBackOnPurpose(Conflict):
    """A fault run has undone this write."""


_passes: Counter[str] = Counter()
_ends_at: dict[str, int] = {}
_refuses: dict[str, float] = {}


def arm(points: str) -> None:
    """Arm these points, separated by commas, instead of what was armed; the empty string disarms."""
    for armed in (_passes, _ends_at, _refuses):
        armed.clear()
    for point in filter(None, points.split(",")):
        if "%" in point:
            name, _, percent = point.partition("%")
            _refuses[name] = float(percent) / 100
        else:
            name, _, nth = point.partition(":")
            _ends_at[name] = int(nth or 1)


def crash(point: str) -> None:
    """End the process here, or raise RolledBackOnPurpose, if this point is armed."""
    if not _ends_at and not _refuses:
        return
    if point in _ends_at:
        _passes[point] += 1
        if _passes[point] >= _ends_at[point]:
            end()
    if random.random() < _refuses.get(point, 0.0):  # noqa: S311 (no secret depends on it)
        raise RolledBackOnPurpose


def end() -> None:
    """The end of the process; a test of many deaths in one process raises a BaseException instead."""
    os._exit(70)


arm(os.environ.get("COWORK_CRASH", ""))
