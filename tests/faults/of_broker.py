"""RabbitMQ is killed, restarted, emptied, frozen, forbidden or full: no request may fail for it, no event may be lost."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from shared.events import SERVICES
from tests.faults.scenarios import Run, scenario

ALARM_SECONDS = 60


@scenario("broker-killed", in_short=True)
async def broker_killed(run: Run) -> None:
    for _ in range(run.times(5, short=1)):
        await asyncio.to_thread(run.ground.node.kill)
        run.kills += 1
        await asyncio.sleep(1)
        await asyncio.to_thread(run.ground.node.start)
        await asyncio.sleep(2)


@scenario("broker-restarted")
async def broker_restarted(run: Run) -> None:
    """An operator's restart: clients are told, queues are closed in order."""
    await asyncio.to_thread(run.ground.node.stop)
    await asyncio.sleep(2)
    await asyncio.to_thread(run.ground.node.start)


@scenario("broker-queue-deleted", loses_order=True)
async def broker_queue_deleted(run: Run) -> None:
    """A queue is deleted with what it holds: its consumer declares it again, the operator sends the log again."""
    since = datetime.now(UTC)
    await asyncio.to_thread(run.ground.node.delete_queue, f"{run.suite.namespace}.notify.in")
    await asyncio.sleep(8)
    await redrive_all(run, since=since - timedelta(seconds=10))


@scenario("broker-forbids")
async def broker_forbids(run: Run) -> None:
    """Ten seconds without permissions."""
    await asyncio.to_thread(run.ground.node.forbid)
    await asyncio.sleep(run.times(10, short=4))
    await asyncio.to_thread(run.ground.node.allow)


@scenario("broker-frozen")
async def broker_frozen(run: Run) -> None:
    """The broker's process stands still for 40 s: open connections, no answer; heartbeats are 5 s."""
    run.ground.node.freeze()
    await asyncio.sleep(run.times(40, short=15))
    run.ground.node.thaw()


@scenario("broker-memory-alarm")
async def broker_memory_alarm(run: Run) -> None:
    await asyncio.to_thread(run.ground.node.raise_memory_alarm)
    await asyncio.sleep(run.times(ALARM_SECONDS, short=8))
    await asyncio.to_thread(run.ground.node.clear_alarms)


@scenario("broker-disk-alarm")
async def broker_disk_alarm(run: Run) -> None:
    await asyncio.to_thread(run.ground.node.raise_disk_alarm)
    await asyncio.sleep(run.times(ALARM_SECONDS, short=8))
    await asyncio.to_thread(run.ground.node.clear_alarms)


@scenario("broker-wiped", loses_order=True)
async def broker_wiped(run: Run) -> None:
    """The broker's volume is lost: topology is declared, and the logs of the last minutes are sent again."""
    since = datetime.now(UTC)
    await asyncio.to_thread(run.ground.node.kill)
    run.kills += 1
    run.ground.node.wipe()
    await asyncio.to_thread(run.ground.node.start)
    await asyncio.to_thread(run.suite.declare_topology)
    await redrive_all(run, since=since - timedelta(seconds=30))


async def redrive_all(run: Run, *, since: datetime) -> None:
    """Send again, by the command an operator uses, what every service has published since."""
    await asyncio.gather(*(_redrive(run, service, since) for service in SERVICES))


async def _redrive(run: Run, service: str, since: datetime) -> None:
    command = [sys.executable, "-m", "deploy.cli", "outbox", "redrive", service, "--since", since.isoformat()]
    process = await asyncio.create_subprocess_exec(*command, env=run.suite.environment_of(service), stdout=-3)
    if await process.wait() != 0:
        run.complaints.append(f"`cowork outbox redrive {service}` failed")
