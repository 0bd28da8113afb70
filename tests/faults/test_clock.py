"""A process with a wall clock an hour off whose timers, threads and event loop keep real time."""

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.clock import clock_off_by

LOOK = """
import asyncio, json, threading, time, uvloop
from datetime import datetime, UTC

async def look():
    began = time.monotonic()
    await asyncio.sleep(0.2)
    slept = time.monotonic() - began
    threading.Event().wait(0.2)
    waited = time.monotonic() - began - slept
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.2)
    except TimeoutError:
        pass
    timed_out = time.monotonic() - began - slept - waited
    await asyncio.to_thread(threading.Event().wait, 0.1)
    return {"now": datetime.now(UTC).isoformat(), "time": time.time(), "monotonic": time.monotonic(),
            "slept": slept, "waited": waited, "timed_out": timed_out}

print(json.dumps(uvloop.run(look())))
"""


@pytest.mark.parametrize("hours", [1, -1])
async def test_only_the_wall_clock_is_an_hour_off(hours: int) -> None:
    offset = timedelta(hours=hours)
    environment = {"PATH": os.environ["PATH"], **clock_off_by(offset)}
    before, began = datetime.now(UTC), time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LOOK, env=environment, stdout=-1)
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    after, ended = datetime.now(UTC), time.monotonic()
    seen = json.loads(output)
    assert before + offset < datetime.fromisoformat(seen["now"]) < after + offset
    assert before.timestamp() < seen["time"] - offset.total_seconds() < after.timestamp()
    assert began < seen["monotonic"] < ended
    for timer in ("slept", "waited", "timed_out"):
        assert 0.19 < seen[timer] < 2, timer
    assert ended - began > 0.7
