"""A rolling restart: every service is stopped in order and started again while members go on writing."""

from shared.events import SERVICES
from tests.faults.scenarios import Run, scenario


@scenario("rolling-restart")
async def rolling_restart(run: Run) -> None:
    """No 5xx: a process that stops answers what it has begun; what finds no server is a matter of the gateway."""
    for service in SERVICES[: run.times(len(SERVICES), short=2)]:
        for role in run.suite.roles:
            await run.suite.stop_service(service, role=role)
            await run.suite.start_service(service, role=role)
