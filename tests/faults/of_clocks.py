"""The wall clock of one process is an hour off: order comes from versions, leases and due times from the database's clock."""

import asyncio

from tests.faults.scenarios import Run, scenario
from tests.support.clock import clock_off_by


@scenario("clock-an-hour-off")
async def clock_an_hour_off(run: Run) -> None:
    """A consumer lives an hour ahead, then a relay an hour behind."""
    for service, hours in (("notify", 1), ("helpdesk", -1)):
        await _restart(run, service, **clock_off_by(hours))
        await asyncio.sleep(run.times(15, short=5))
        await _restart(run, service)


async def _restart(run: Run, service: str, **variables: str) -> None:
    await run.suite.kill_service(service, role="worker")
    run.kills += 1
    await run.suite.start_service(service, role="worker", **variables)
