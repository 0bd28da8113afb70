"""Crash points: named places between a write, a publish, a commit and an acknowledge.

`crash("relay.after_publish")` does nothing unless COWORK_CRASH names the point (`name` or `name:n` for the n-th
pass); then the process ends at once with status 70, as after kill −9. Fault runs arm them.
"""

import os
from collections import Counter

_passes: Counter[str] = Counter()
_armed: dict[str, int] = {}
for _point in filter(None, os.environ.get("COWORK_CRASH", "").split(",")):
    _name, _, _nth = _point.partition(":")
    _armed[_name] = int(_nth or 1)


def crash(point: str) -> None:
    """End the process here if this point is armed and has been passed often enough."""
    if not _armed or point not in _armed:
        return
    _passes[point] += 1
    if _passes[point] >= _armed[point]:
        os._exit(70)
