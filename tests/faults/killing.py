"""Ending a process at its crash points, and starting it again as a supervisor would."""

import asyncio
import random
import subprocess
from collections.abc import Sequence

from tests.faults.scenarios import NotReached, Run

REACHED_WITHIN_SECONDS = 60
CRASHED = 70


async def kill_at(run: Run, service: str, role: str, points: Sequence[str], *, times: int, latest: int = 4) -> None:
    """End one process `times` times at each point, at one of its first `latest` passes; leave it running unharmed.

    Raises NotReached when a point is not passed within a minute, or when the process ends in another way.
    """
    passes = random.Random(f"{service}{role}")
    await run.suite.kill_service(service, role=role)
    for point in points:
        for _ in range(times):
            armed = ",".join(
                filter(None, [run.suite.crash_points(service, role), f"{point}:{passes.randint(1, latest)}"])
            )
            await run.suite.start_service(service, role=role, wait=False, COWORK_CRASH=armed)
            await _ends(run.suite.process(service, role=role), f"{service} {role} at {point}")
            run.kills += 1
            # Who is dead holds nothing; the wait for its lease is shown by other scenarios, and would be most of this one.
            await run.suite.query(service, "UPDATE leases SET expires_at = now() RETURNING name")
    await run.suite.start_service(service, role=role)


async def _ends(process: "subprocess.Popen[bytes]", what: str) -> None:
    try:
        status = await asyncio.to_thread(process.wait, REACHED_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        raise NotReached(f"{what} was not reached") from None
    if status != CRASHED:
        raise NotReached(f"{what}: ended with status {status}")
