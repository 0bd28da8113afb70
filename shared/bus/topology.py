"""What exists in the broker: one topic exchange, per service one quorum queue and one for its dead letters."""

from collections.abc import Iterable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

DELIVERY_LIMIT = 100


class TopologyMismatch(RuntimeError):
    """A queue of this name exists with other arguments: delete it (its events are in the logs: `outbox redrive`)."""


def names(namespace: str, service: str) -> tuple[str, str]:
    """Return the names of a service's queue and of its dead-letter queue."""
    return f"{namespace}.{service}.in", f"{namespace}.{service}.dead"


def events_exchange(namespace: str) -> str:
    return f"{namespace}.events"


async def is_declared(connection: AbstractConnection, namespace: str, service: str) -> bool:
    """Whether both queues of a service exist; asking takes no rights and changes nothing."""
    try:
        async with connection.channel() as channel:
            for name in names(namespace, service):
                await channel.declare_queue(name, passive=True)
    except ChannelNotFoundEntity:
        return False
    return True


def queues(namespace: str, service: str) -> dict[str, dict[str, object]]:
    """Return a service's queue and then its dead-letter queue, by name, with the arguments that each is declared with."""
    queue_name, dead_name = names(namespace, service)
    arguments: dict[str, object] = {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        # Explicit: RabbitMQ 3.10 has no default, 4.x has 20. Only crashing processes ever reach it.
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": f"{namespace}.dead",
        "x-dead-letter-routing-key": dead_name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return {queue_name: arguments, dead_name: {"x-queue-type": "quorum"}}


async def declare_queue(channel: AbstractChannel, namespace: str, service: str, types: Iterable[str]) -> AbstractQueue:
    """Declare a service's queues and bind them to its events. Raises TopologyMismatch."""
    exchange = await channel.declare_exchange(events_exchange(namespace), aio_pika.ExchangeType.TOPIC, durable=True)
    dead_exchange = await channel.declare_exchange(f"{namespace}.dead", aio_pika.ExchangeType.DIRECT, durable=True)
    (queue_name, arguments), (dead_name, dead_arguments) = queues(namespace, service).items()
    dead = await _queue(channel, dead_name, dead_arguments)
    await dead.bind(dead_exchange, routing_key=dead_name)
    queue = await _queue(channel, queue_name, arguments)
    for event_type in types:
        await queue.bind(exchange, routing_key=event_type)
    return queue


async def _queue(channel: AbstractChannel, name: str, arguments: dict[str, object]) -> AbstractQueue:
    try:
        return await channel.declare_queue(name, durable=True, arguments=arguments)  # type: ignore[arg-type]
    except ChannelPreconditionFailed as error:
        raise TopologyMismatch(name) from error
