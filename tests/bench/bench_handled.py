"""How long from a commit until another service has handled the event, against aio-pika's own way through the broker.

Ours starts when the writer's transaction has committed, in a process role without a relay (so the relay is woken over
PostgreSQL), and ends when the reader's transaction has. The raw side starts at the publish and ends in the consumer's
callback, over a quorum queue of the same kind. Both at the same modest rate, one event at a time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import Consumers, publish
from shared.bus.wake import Notifier
from shared.bus.worker import BusWorker
from shared.db import Database, uuid7, wake_after_commit
from shared.events.feed import PostPublished
from tests.bench.backlogs import TENANT, Store
from tests.bench.figures import Figure, Sample, at_most, bench, interleaved
from tests.bench.stand import Stand
from tests.bench.wires import READER, WRITER, Wire, publish_raw
from tests.support.testing import SQLALCHEMY_SCHEME, wait_for

EVENTS = 60
PER_SECOND = 50


class Stopwatch:
    """Latencies by the event's key."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.latencies: list[float] = []

    def start(self, key: str) -> None:
        self.started[key] = time.perf_counter()

    def stop(self, key: str) -> None:
        self.latencies.append((time.perf_counter() - self.started.pop(key)) * 1000)

    async def sample(self, count: int, send: Callable[[], Awaitable[object]]) -> Sample:
        """Send `count` events at the rate and return when all have arrived."""
        self.latencies, began = [], time.perf_counter()
        sending = []
        for number in range(count):
            await asyncio.sleep(max(0, began + number / PER_SECOND - time.perf_counter()))
            sending.append(asyncio.ensure_future(send()))
        await asyncio.gather(*sending)
        await wait_for(lambda: len(self.latencies) == count, what="the last event")
        return Sample(count, time.perf_counter() - began, tuple(self.latencies))


class Services:
    """A writer's API half and both workers, running."""

    def __init__(self, writer: Store, reader: Store, wire: Wire) -> None:
        self.watch, self._reader = Stopwatch(), reader.database
        self.api = Database(writer.app_url.replace("postgresql://", SQLALCHEMY_SCHEME))
        self.api.wake_elsewhere = Notifier(self.api).wake
        consumers = Consumers(READER)
        consumers.on(PostPublished)(self._react)
        self.workers = [
            BusWorker(WRITER, writer.database, Consumers(WRITER), wire.transport()),
            BusWorker(READER, reader.database, consumers, wire.transport()),
        ]
        self._running = [asyncio.ensure_future(worker.run()) for worker in self.workers]

    async def send(self) -> None:
        async with self.api.transaction(TENANT) as session:
            event = PostPublished(tenant_id=TENANT, post_id=uuid7(), author_id=uuid7(), is_announcement=False)
            self.api.wakers[event.key] = self.watch.start
            wake_after_commit(session, event.key)
            await publish(session, event)

    async def stop(self) -> None:
        for worker in self.workers:
            await worker.stop()
        await asyncio.gather(*self._running)
        await self.api.close()

    async def _react(self, session: AsyncSession, event: PostPublished) -> None:
        self._reader.wakers[event.key] = self.watch.stop
        wake_after_commit(session, event.key)


@bench("handled")
async def handled(stand: Stand) -> list[Figure]:
    services = Services(await Store.of(stand, WRITER), await Store.of(stand, READER), await Wire.of(stand))
    await wait_for(lambda: services.workers[1].is_consuming)
    wire, watch = await Wire.of(stand), Stopwatch()
    exchange = await wire.exchange()

    async def receive(message: AbstractIncomingMessage) -> None:
        watch.stop(message.body.decode())
        await message.ack()

    async def send() -> None:
        key = str(uuid7())
        watch.start(key)
        await publish_raw(exchange, [key.encode()])

    await wire.consume_raw(receive, limit=100)
    count = stand.many(EVENTS)
    ours, raw = await interleaved(
        lambda: services.watch.sample(count, services.send), lambda: watch.sample(count, send)
    )
    await services.stop()
    mine, limit = ours.percentile_ms(50), raw.percentile_ms(50)
    assert mine is not None
    assert limit is not None
    return [
        Figure(
            "handled over the broker",
            value=mine,
            unit="ms",
            limit=limit,
            goals=(at_most("over_limit", 10),),
            p50_ms=mine,
            p99_ms=ours.percentile_ms(99),
            record="0017",
            notes={"raw_p99_ms": raw.percentile_ms(99) or 0.0},
        )
    ]
