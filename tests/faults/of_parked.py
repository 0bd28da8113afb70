"""The drainer of dead letters and the runner of parked events end between any two steps."""

import asyncio

import aio_pika

from shared.bus.topology import names
from tests.faults.killing import kill_at
from tests.faults.scenarios import Run, scenario

EACH = 20
DRAINING = ("drain.after_park",)
RETRYING = ("parked.after_claim", "parked.after_attempt")
MESSAGES = 150


@scenario("crash-parked")
async def crash_parked(run: Run) -> None:
    """What the broker has given up on is parked, and an operator has it tried again and again meanwhile."""
    await run.suite.kill_service("notify", role="worker")
    await _bury(run, run.times(MESSAGES, short=40))
    await run.suite.start_service("notify", role="worker")
    await kill_at(run, "notify", "worker", DRAINING, times=run.times(EACH, short=2))
    operator = asyncio.create_task(_keep_retrying(run))
    await kill_at(run, "notify", "worker", RETRYING, times=run.times(EACH, short=2))
    await _until_none_is_parked(run)
    operator.cancel()


async def _bury(run: Run, count: int) -> None:
    """Move messages from notify's queue to its dead letters, as the broker does after too many deliveries."""
    living, dead = names(run.suite.namespace, "notify")
    connection = await aio_pika.connect(run.ground.node.url())
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue(living)
        async with queue.iterator() as messages:
            async for message in messages:
                again = aio_pika.Message(message.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(again, dead)
                await message.ack()
                count -= 1
                if count == 0:
                    break


async def _keep_retrying(run: Run) -> None:
    while True:
        await retry_all(run)
        await asyncio.sleep(1)


async def _until_none_is_parked(run: Run) -> None:
    """What is still dead in the broker is parked by the last process; the operator goes on until nothing is left."""
    for _ in range(120):
        if not await run.suite.query("notify", "SELECT FROM inbox_parked LIMIT 1"):
            return
        await asyncio.sleep(0.5)


async def retry_all(run: Run) -> None:
    """What `cowork dlq retry` does, for everything that is dead or waits for its next attempt."""
    due = "UPDATE inbox_parked SET state = 'retry', attempts = 0, retry_at = now() WHERE state IN ('dead', 'retry')"
    await run.suite.query("notify", due)
