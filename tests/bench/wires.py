"""A wire of a benchmark: one namespace in the broker, the product's transport on it, and aio-pika's plain way beside it."""

import asyncio
import secrets
from collections.abc import Callable, Sequence

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractQueue

from deploy.topology import declare
from shared.bus.amqp import CONTENT_TYPE, HEARTBEAT_SECONDS, AmqpTransport
from shared.bus.topology import events_exchange, names
from shared.events.feed import PostPublished
from tests.bench.stand import Stand
from tests.support.broker import delete_queues

WRITER, READER = "feed", "notify"
TYPE = PostPublished.type
IN_FLIGHT = 400


class Wire:
    """`feed` writes, `notify` reads; both sides of a benchmark publish to and consume from the same quorum queue."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.namespace = f"bench{secrets.token_hex(4)}"
        self._transports: list[AmqpTransport] = []
        self._connections: list[AbstractConnection] = []
        self._queue: AbstractQueue

    @classmethod
    async def of(cls, stand: Stand) -> "Wire":
        """Return a declared wire that is gone after the run."""
        wire = cls(stand.amqp_url)
        await declare(wire._url, namespace=wire.namespace, subscriptions={READER: [TYPE]})
        stand.closing(wire.close)
        channel = await (await wire.connect()).channel()
        wire._queue = await channel.get_queue(names(wire.namespace, READER)[0])
        return wire

    def transport(self) -> AmqpTransport:
        transport = AmqpTransport(self._url, namespace=self.namespace, subscribed=[TYPE])
        self._transports.append(transport)
        return transport

    async def connect(self) -> AbstractConnection:
        """Return a plain connection with the settings of the product's."""
        connection = await aio_pika.connect(self._url, heartbeat=HEARTBEAT_SECONDS)
        self._connections.append(connection)
        return connection

    async def exchange(self) -> AbstractExchange:
        """Return the exchange on a plain channel with confirms, for `publish_raw`."""
        channel = await (await self.connect()).channel(publisher_confirms=True, on_return_raises=True)
        return await channel.get_exchange(events_exchange(self.namespace))

    async def consume_raw(self, callback: Callable[..., object], *, limit: int) -> AbstractConnection:
        """Consume on a connection of its own until that is closed."""
        connection = await self.connect()
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=limit)
        queue = await channel.get_queue(names(self.namespace, READER)[0])
        await queue.consume(callback)  # type: ignore[arg-type]
        return connection

    async def purge(self) -> None:
        await self._queue.purge()

    async def close(self) -> None:
        for transport in self._transports:
            await transport.close()
        for connection in self._connections:
            await connection.close()
        await delete_queues(self._url, self.namespace, [READER])


async def publish_raw(exchange: AbstractExchange, bodies: Sequence[bytes]) -> None:
    """Publish as fast as aio-pika can: persistent, mandatory, confirmed, a rolling window of IN_FLIGHT."""
    waiting = iter(bodies)

    async def sender() -> None:
        for body in waiting:
            message = aio_pika.Message(body, content_type=CONTENT_TYPE, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, routing_key=TYPE, mandatory=True)

    await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
