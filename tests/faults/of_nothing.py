"""The control: the load alone. What it shows to hold, and at which rate, a fault may be blamed for."""

import asyncio

from tests.faults.scenarios import Run, scenario


@scenario("nothing", in_short=True)
async def nothing(run: Run) -> None:
    await asyncio.sleep(run.times(15, short=4))
