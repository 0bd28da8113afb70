"""The one-shot topology job: every queue and binding, before anybody publishes or consumes."""

from collections.abc import Mapping, Sequence

from shared.bus.amqp import connect
from shared.bus.topology import declare_queue


async def declare(url: str, *, namespace: str, subscriptions: Mapping[str, Sequence[str]]) -> None:
    """Declare services' queues and bindings, as a user who may; repeatable. Raises TopologyMismatch, BROKER_ERRORS."""
    async with await connect(url) as connection:
        for service, types in subscriptions.items():
            channel = await connection.channel()
            await declare_queue(channel, namespace, service, types)
            await channel.close()
