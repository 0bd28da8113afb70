"""A process ends between any two steps of writing, relaying, consuming and sending again."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.faults.ground import WRITERS
from tests.faults.killing import CRASHED, kill_at
from tests.faults.scenarios import NotReached, Run, scenario
from tests.support.warm import WarmProcess

EACH = 20
# Every redrive that commits sends this much of the past once more, on top of the load.
REDRIVEN_SECONDS = 20
REDRIVE_WITHIN_SECONDS = 60
WRITING = ("publish.before_log", "publish.before_outbox", "publish.before_commit", "publish.after_commit")
RELAYING = ("relay.after_read", "relay.after_publish", "relay.after_delete")
CONSUMING = (
    "consumer.before_inbox",
    "consumer.after_effects",
    "consumer.before_commit",
    "consumer.after_commit",
    "consumer.after_ack",
)
SENDING_AGAIN = ("redrive.before_commit", "redrive.after_commit")


@scenario("crash-http-write", in_short=True)
async def crash_http_write(run: Run) -> None:
    """The API ends before, between and after the statements of a write; who has no answer has no promise."""
    times = run.times(-(-EACH // len(WRITERS)), short=1)
    await asyncio.gather(*(kill_at(run, service, "api", WRITING, times=times) for service in WRITERS))


@scenario("crash-relay", in_short=True)
async def crash_relay(run: Run) -> None:
    """The relay ends with a batch read, published, or struck out."""
    times = run.times(-(-EACH // len(WRITERS)), short=1)
    await asyncio.gather(*(kill_at(run, service, "worker", RELAYING, times=times) for service in WRITERS))


@scenario("crash-consumer", in_short=True)
async def crash_consumer(run: Run) -> None:
    """The consumer ends anywhere between receiving and having acknowledged."""
    times = run.times(EACH // 2, short=1)
    # Passes are spread, so that no message is given back so often that the broker takes it for poison.
    killing = (kill_at(run, service, "worker", CONSUMING, times=times, latest=12) for service in ("notify", "billing"))
    await asyncio.gather(*killing)


@scenario("crash-redrive")
async def crash_redrive(run: Run) -> None:
    """An operator sends a service's events again, and the command ends before or after its commit."""
    for point in SENDING_AGAIN:
        for _ in range(run.times(EACH, short=2)):
            status = await _redrive(run, "helpdesk", COWORK_CRASH=point)
            if status != CRASHED:
                raise NotReached(f"{point}: the command ended with status {status}")
            run.kills += 1
    if await _redrive(run, "helpdesk") != 0:
        raise NotReached("the command does not end well without a crash point")


async def _redrive(run: Run, service: str, **variables: str) -> int:
    since = (datetime.now(UTC) - timedelta(seconds=REDRIVEN_SECONDS)).isoformat()
    environment = {**run.suite.environment_of(service), **variables}
    process = WarmProcess(
        ["outbox", "redrive", service, "--since", since], environment, run.suite.folder / "redrive.log"
    )
    return await asyncio.to_thread(process.wait, REDRIVE_WITHIN_SECONDS)
