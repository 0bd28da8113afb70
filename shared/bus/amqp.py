"""The transport over RabbitMQ 3.10 to 4.x: confirms, mandatory, quorum queues; two connections per process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import aio_pika
import structlog
from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, DeliveryError
from aiormq import Channel, spec
from aiormq.exceptions import AMQPError as WireError
from aiormq.exceptions import ChannelAccessRefused
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import Envelope
from shared.bus.topology import declare_queue, events_exchange, is_declared, names
from shared.bus.transport import Deliver, Delivery, TransportDown

log = structlog.get_logger()
PUBLISH_SECONDS = 10.0
DRAIN_SECONDS = 1.0
CONNECT_SECONDS = 5.0
HEARTBEAT_SECONDS = 5
CONTENT_TYPE = "application/cloudevents+json"
BROKER_ERRORS = (AMQPError, WireError, OSError, asyncio.TimeoutError, RuntimeError)


class AmqpTransport:
    """One process's way to RabbitMQ.

    `subscribed` names every event type that somebody subscribes to: only for those is an unroutable publish an
    error. `namespace` prefixes exchanges and queues.
    """

    def __init__(self, url: str, *, namespace: str, subscribed: Iterable[str]) -> None:
        self._url = url
        self._namespace = namespace
        self._subscribed = frozenset(subscribed)
        self._publishing: tuple[AbstractConnection, Channel] | None = None
        self._exchange = events_exchange(namespace)
        self._consuming: AbstractConnection | None = None
        self._connecting = asyncio.Lock()

    async def publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        channel = await self._channel()
        by_key: dict[str, list[int]] = defaultdict(list)
        for index, envelope in enumerate(envelopes):
            by_key[envelope.key].append(index)
        confirmed = [False] * len(envelopes)

        async def publish_in_order(indices: list[int]) -> None:
            # One in flight per key: a lost confirm never lets a later event of the key overtake.
            for index in indices:
                if not await self._publish_one(channel, envelopes[index]):
                    return
                confirmed[index] = True

        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await asyncio.gather(*(publish_in_order(indices) for indices in by_key.values()))
        except TimeoutError as error:
            log.warning("relay.publish_failed", unconfirmed=confirmed.count(False), exc_info=error)
        if not all(confirmed):
            await self._drop_publishing()
        return confirmed

    async def consume(self, service: str, types: Iterable[str], deliver: Deliver, *, limit: int) -> None:
        async def receive(message: AbstractIncomingMessage) -> None:
            deliver(_delivery(message))

        live, _ = names(self._namespace, service)
        async with self._reading(live, service, types, limit=limit) as (connection, channel, queue):
            ended = await _ended(connection, channel)
            # A queue whose leader is lost may never answer: then everything begins anew.
            await queue.consume(receive, timeout=PUBLISH_SECONDS)
            await ended
        raise TransportDown

    async def drain_dead(
        self,
        service: str,
        types: Iterable[str],
        park: Callable[[bytes], Awaitable[None]],
        none_left: Callable[[], None],
    ) -> None:
        _, dead_name = names(self._namespace, service)
        dead: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        async with self._reading(dead_name, service, types, limit=10) as (_, channel, queue):
            # Asked before anything is on its way here, and after everything that was is parked.
            if await _is_empty(channel, dead_name):
                none_left()
            await queue.consume(dead.put, timeout=PUBLISH_SECONDS)
            while True:
                await _park_all(dead, park)
                if await _is_empty(channel, dead_name) and dead.empty():
                    none_left()

    @asynccontextmanager
    async def _reading(
        self, name: str, service: str, types: Iterable[str], *, limit: int
    ) -> AsyncIterator[tuple[AbstractConnection, AbstractChannel, AbstractQueue]]:
        """Yield one of a service's queues on a channel of its own. Raises TransportDown."""
        connection = await self._consuming_connection()
        channel = None
        try:
            await self._require_queues(connection, service, types)
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=limit)
            yield connection, channel, await channel.get_queue(name, ensure=False)
        except BROKER_ERRORS as error:
            raise TransportDown from error
        finally:
            # Closing the channel gives every unacknowledged message back, in order.
            await _close_quietly(channel)

    async def close(self) -> None:
        await self._drop_publishing()
        await _close_quietly(self._consuming)

    async def _channel(self) -> Channel:
        async with self._connecting:
            if self._publishing is None or _is_lost(self._publishing[0]):
                connection = None
                try:
                    connection = await self._connect("publish")
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                    # Asked for only: who publishes declares nothing.
                    await channel.get_exchange(self._exchange)
                    underlay = await channel.get_underlay_channel()
                    assert isinstance(underlay, Channel)
                    self._publishing = connection, underlay
                except BROKER_ERRORS as error:
                    await _close_quietly(connection)
                    raise TransportDown from error
            return self._publishing[1]

    async def _consuming_connection(self) -> AbstractConnection:
        async with self._connecting:
            if self._consuming is None or _is_lost(self._consuming):
                try:
                    self._consuming = await self._connect("consume")
                except BROKER_ERRORS as error:
                    raise TransportDown from error
            return self._consuming

    async def _require_queues(self, connection: AbstractConnection, service: str, types: Iterable[str]) -> None:
        """Declare a service's queues where they are missing and its user may do so (in compose: only the topology job's)."""
        async with asyncio.timeout(PUBLISH_SECONDS):
            if await is_declared(connection, self._namespace, service):
                return
            try:
                async with connection.channel() as channel:
                    await declare_queue(channel, self._namespace, service, types)
            except ChannelAccessRefused:
                log.error("consumer.queues_missing", service=service, remedy="cowork topology")
                raise

    async def _connect(self, purpose: str) -> AbstractConnection:
        return await connect(self._url, heartbeat=HEARTBEAT_SECONDS, name=f"cowork-{purpose}")

    async def _drop_publishing(self) -> None:
        if self._publishing is not None:
            connection, self._publishing = self._publishing[0], None
            await _close_quietly(connection)

    async def _publish_one(self, channel: Channel, envelope: Envelope) -> bool:
        properties = spec.Basic.Properties(
            content_type=CONTENT_TYPE, delivery_mode=DeliveryMode.PERSISTENT, message_id=str(envelope.id)
        )
        try:
            # The confirm is waited for, the socket is not: it takes the frames of a whole batch at once.
            await channel.basic_publish(
                envelope.encode(),
                exchange=self._exchange,
                routing_key=envelope.type,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        except DeliveryError:
            # Returned or refused. Without a subscriber there is nobody to miss it.
            return envelope.type not in self._subscribed
        except BROKER_ERRORS as error:
            log.warning("relay.publish_failed", event_id=str(envelope.id), exc_info=error)
            return False
        return True


def _delivery(message: AbstractIncomingMessage) -> Delivery:
    async def settle(_: AsyncSession) -> None:
        return None

    async def acknowledge() -> None:
        try:
            await message.ack()
        except BROKER_ERRORS as error:
            # The channel is gone: the broker delivers again and the inbox drops the duplicate.
            log.info("consumer.ack_lost", exc_info=error)

    # Through the default exchange (no name) only the operator may send: no service has a right there.
    return Delivery(message.body, settle, acknowledge, sent_as=message.routing_key if message.exchange else None)


async def _is_empty(channel: AbstractChannel, name: str) -> bool:
    """Whether nothing waits in a queue. Raises when it has gone: who only subscribes is not told so."""
    async with asyncio.timeout(PUBLISH_SECONDS):
        asked = await channel.declare_queue(name, passive=True)
    return not asked.declaration_result.message_count


async def _park_all(dead: "asyncio.Queue[AbstractIncomingMessage]", park: Callable[[bytes], Awaitable[None]]) -> None:
    """Park what comes until nothing has come for a second."""
    while True:
        try:
            message = await asyncio.wait_for(dead.get(), DRAIN_SECONDS)
        except TimeoutError:
            return
        await park(message.body)
        await message.ack()


def _is_lost(connection: AbstractConnection) -> bool:
    """Whether a connection is of no more use. `is_closed` alone stays False when it was the broker that went away."""
    return connection.is_closed or not connection.connected.is_set()


async def _ended(connection: AbstractConnection, channel: AbstractChannel) -> "asyncio.Future[None]":
    """A future that ends with the connection, the channel or the consumer, so that none falls silent.

    The broker cancels a consumer and leaves its channel open when the queue is deleted or its leader moves.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(*_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    connection.close_callbacks.add(end)
    channel.close_callbacks.add(end)
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, Channel)
    underlay.on_consumer_cancel_callbacks.add(end)
    return ended


async def _close_quietly(resource: object | None) -> None:
    if resource is None:
        return
    try:
        async with asyncio.timeout(2):
            await resource.close()  # type: ignore[attr-defined]
    except BROKER_ERRORS:
        return


async def connect(addresses: str, *, heartbeat: int = HEARTBEAT_SECONDS, name: str = "cowork") -> AbstractConnection:
    """Connect to the first that answers of one or several addresses, separated by commas (the nodes of a cluster)."""
    urls = addresses.split(",")
    for url in urls:
        try:
            return await aio_pika.connect(
                url, timeout=CONNECT_SECONDS, heartbeat=heartbeat, client_properties={"connection_name": name}
            )
        except BROKER_ERRORS:
            if url == urls[-1]:
                raise
    raise AssertionError("unreachable")
