"""Where a process spends its CPU time, by layer: every 2 ms of CPU, the innermost known frame counts."""

import json
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_SECONDS = 0.002

# The first part of a file's path that matches names its layer; what matches none belongs to its caller.
LAYERS = (
    ("/sqlalchemy/", "SQLAlchemy"),
    ("/asyncpg/", "asyncpg"),
    ("/pydantic", "serialization"),
    ("/orjson", "serialization"),
    ("/json/", "serialization"),
    ("/fastapi/", "framework"),
    ("/starlette/", "framework"),
    ("/uvicorn/", "framework"),
    ("/anyio/", "framework"),
    ("/contextlib.py", "framework"),
    ("/opentelemetry/", "conventions and tokens"),
    ("/prometheus_client/", "conventions and tokens"),
    ("/jwt/", "conventions and tokens"),
    ("/shared/", "conventions and tokens"),
    ("/services/", "the service"),
)


class Profile:
    """Samples the main thread on the process's CPU clock."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        self.counts.clear()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)

    def write(self, path: Path) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(self.counts))
        partial.rename(path)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        self.counts[layer_of(frame)] += 1


def layer_of(frame: FrameType | None) -> str:
    """Return the layer of the innermost frame that has one; the event loop alone is `rest`."""
    while frame is not None:
        path = frame.f_code.co_filename
        for part, layer in LAYERS:
            if part in path:
                return layer
        frame = frame.f_back
    return "rest"
