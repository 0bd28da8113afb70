"""A wrong clock is wrong where people read it, and nowhere else."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.support.clock import clock_off_by

READ = """
import asyncio, json, time
from datetime import UTC, datetime
import uvloop

async def read():
    started = time.monotonic()
    await asyncio.sleep(0.2)
    print(json.dumps([datetime.now(UTC).timestamp(), started, time.monotonic()]))

uvloop.run(read())
"""


@pytest.mark.parametrize("hours", [1, -1])
def test_the_wall_clock_is_an_hour_off_and_waiting_takes_its_time(hours: int) -> None:
    before, since = time.time(), time.monotonic()
    environment = {**os.environ, **clock_off_by(hours)}
    command = [sys.executable, "-c", READ]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=30)
    now, started, ended = json.loads(done.stdout)
    # FAKETIME counts in whole seconds.
    assert before - 1 <= now - hours * 3600 <= time.time() + 1
    assert since < started < ended < time.monotonic()
    assert 0.19 < ended - started < 0.6


def test_both_clocks_agree_where_nothing_is_preloaded() -> None:
    done = subprocess.run([sys.executable, "-c", READ], check=True, capture_output=True, text=True, timeout=30)
    assert abs(json.loads(done.stdout)[0] - time.time()) < 2
