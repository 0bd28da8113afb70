"""Start-up seconds and memory of each service process, against an interpreter that imports the libraries alone."""

import asyncio
import sys
import time
from collections.abc import Sequence

from shared.events import SERVICES
from tests.bench.costs import memory_mb
from tests.bench.figures import Figure, bench
from tests.bench.stand import Stand

BARE = "import fastapi, sqlalchemy, aio_pika, pydantic; input()"
ROLES = ("api", "worker")


@bench("start-up")
async def start_up(stand: Stand) -> Sequence[Figure]:
    suite = await stand.suite()
    bare_seconds, bare_mb = await _bare()
    services = SERVICES if stand.scale == 1 else SERVICES[:1]
    figures = []
    for name in services:
        for role in ROLES:
            await suite.kill_service(name, role=role)
            started = time.perf_counter()
            await suite.start_service(name, role=role)
            seconds = time.perf_counter() - started
            memory = memory_mb([suite.process(name, role=role).pid])
            ratio = bare_seconds / seconds
            figures.append(
                Figure(
                    f"start-up, {name} {role}",
                    seconds,
                    "s",
                    limit=bare_seconds,
                    ratio=ratio,
                    rss_mb=memory,
                    notes={"memory of the bare process, MB": bare_mb},
                )
            )
    return figures


async def _bare() -> tuple[float, float]:
    """Return the seconds of an interpreter that imports the libraries and ends, and the memory it holds."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE.removesuffix("; input()"))
    await process.wait()
    seconds = time.perf_counter() - started
    waiting = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BARE.replace("input()", "print(flush=True); input()"), stdin=-1, stdout=-1
    )
    assert waiting.stdout is not None
    await waiting.stdout.readline()
    memory = memory_mb([waiting.pid])
    await waiting.communicate(b"\n")
    return seconds, memory
