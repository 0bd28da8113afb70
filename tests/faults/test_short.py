"""CI runs the short part of the fault runs: real processes, killed at every kind of crash point and under their broker."""

import asyncio
import json
import sys

import pytest

from tests.faults.__main__ import load_scenarios
from tests.faults.scenarios import SCENARIOS

KEYS = {"scenario", "events", "kills", "lost", "ghosts", "applied_twice", "out_of_order", "http_5xx", "drained_s", "ok"}


@pytest.mark.timeout(600)
async def test_the_short_fault_runs_hold() -> None:
    load_scenarios()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults", "--short", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, said = await process.communicate()
    lines = [json.loads(line) for line in printed.decode().splitlines()]
    assert process.returncode == 0, printed.decode() + said.decode()[-6000:]
    assert {line["scenario"] for line in lines} == {one.name for one in SCENARIOS.values() if one.in_short}
    for line in lines:
        assert line.keys() == KEYS
        assert line["ok"]
        assert line["events"] > 0
