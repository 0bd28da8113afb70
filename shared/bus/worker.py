"""The bus half of a worker process: relay, consumer, parked runner and dead-letter drainer, supervised."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from shared.bus.consumers import Consumers
from shared.bus.contracts import Envelope, Undecodable
from shared.bus.crash import crash
from shared.bus.inbox import Inbox
from shared.bus.lanes import Lanes
from shared.bus.parking import MAX_ATTEMPTS, claim_due, count_parked, park_in, park_undecodable, put_back, unpark
from shared.bus.relay import Relay, outbox_status
from shared.bus.transport import Delivery, Transport, TransportDown
from shared.bus.wake import RELAY, listen
from shared.db import Database
from shared.tasks import cancel_all
from shared.telemetry import CONSUMER, OUTBOX_AGE, PARKED

log = structlog.get_logger()
MAX_BACKOFF_SECONDS = 5.0
PARKED_POLL_SECONDS = 0.5
PROMOTE_SECONDS = 2.0
DRAIN_SECONDS = 10.0
OBSERVE_SECONDS = 5.0
PUBLISH_GRACE_SECONDS = 10.0


class BusWorker:
    """`run()` until `stop()`: cancel the consumer, let lanes and relay finish, close."""

    def __init__(
        self,
        service: str,
        database: Database,
        consumers: Consumers,
        transport: Transport,
        *,
        concurrency: int = 4,
        hold_seconds: float = 30.0,
        handling_seconds: float = 30.0,
    ) -> None:
        self._service = service
        self._database = database
        self._consumers = consumers
        self._transport = transport
        self._concurrency = concurrency
        self._hold_seconds = hold_seconds
        self._inbox = Inbox(database, consumers, handling_seconds=handling_seconds)
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._lanes: Lanes | None = None
        self.relay = Relay(service, database, transport)
        self.is_consuming = False
        database.wakers[RELAY] = self.relay.wake

    async def run(self) -> None:
        supervised: list[Callable[[], Awaitable[None]]] = [
            self._consume,
            self._retry_parked,
            self._drain,
            self._observe,
        ]
        tasks = [asyncio.create_task(self._supervise(work)) for work in supervised]
        tasks.append(asyncio.create_task(listen(self._database)))
        relaying = asyncio.create_task(self.relay.run())
        try:
            await self._stopping.wait()
        finally:
            await cancel_all(tasks)
            if self._lanes is not None:
                await _within(self._hold_seconds, self._lanes.finish())
                self._lanes.abandon()
            await self.relay.stop()
            await _within(PUBLISH_GRACE_SECONDS, relaying)

    async def stop(self) -> None:
        self._stopping.set()

    async def _supervise(self, work: Callable[[], Awaitable[None]]) -> None:
        """Start `work` again whenever it ends: a worker never falls silent."""
        backoff = 0.1
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await work()
            except Exception as error:
                log.warning("bus.restarting", job=work.__name__, exc_info=error)
            if loop.time() - started > MAX_BACKOFF_SECONDS * 2:
                backoff = 0.1
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)

    async def _consume(self) -> None:
        """Consume until the connection or the database is lost; whatever is held is given back."""
        await self._database.ping()
        await self._until_drained()
        lanes = Lanes(self._database, self._inbox, concurrency=self._concurrency, hold_seconds=self._hold_seconds)
        self._lanes = lanes
        types = self._consumers.types()
        limit = self._concurrency * 25
        consuming = asyncio.create_task(self._transport.consume(self._service, types, lanes.deliver, limit=limit))
        down = asyncio.create_task(lanes.down.wait())
        self._register(True)
        try:
            await asyncio.wait({consuming, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._register(False)
            # Whoever consumes next asks again.
            self._drained.clear()
            await cancel_all((consuming, down))
            if not self._stopping.is_set():
                lanes.abandon()

    async def _until_drained(self) -> None:
        """What the broker has given up on comes before what is behind it: parked first, it holds its key up."""
        try:
            await asyncio.wait_for(self._drained.wait(), DRAIN_SECONDS)
        except TimeoutError:
            log.warning("bus.dead_letters_unknown")

    def _register(self, is_consuming: bool) -> None:
        self.is_consuming = is_consuming
        CONSUMER.labels(self._service).set(int(is_consuming))

    async def _retry_parked(self) -> None:
        clock = asyncio.get_running_loop().time
        promotes_at = clock()
        while True:
            promotes = clock() >= promotes_at
            claimed = await claim_due(self._database, promotes=promotes)
            if promotes:
                promotes_at = clock() + PROMOTE_SECONDS
            if claimed is None:
                await asyncio.sleep(PARKED_POLL_SECONDS)
                continue
            await self._retry(*claimed)

    async def _retry(self, position: int, body: bytes, attempts: int) -> None:
        async def settle(session: Any) -> None:
            await unpark(session, position)

        async def acknowledge() -> None:
            return None

        crash("parked.after_claim")
        try:
            envelope = Envelope.decode(body)
            await self._inbox.handle(envelope, Delivery(body, settle, acknowledge), waits_its_turn=False)
        except Undecodable as error:
            await put_back(self._database, position, attempts=MAX_ATTEMPTS, reason=str(error))
        except Exception as error:
            log.warning("parked.attempt_failed", attempt=attempts, exc_info=error)
            await put_back(self._database, position, attempts=attempts, reason=type(error).__name__)
        crash("parked.after_attempt")

    async def _drain(self) -> None:
        async def park(body: bytes) -> None:
            async with self._database.transaction() as session:
                try:
                    await park_in(session, Envelope.decode(body), body, state="dead", reason="delivery_limit")
                except Undecodable as error:
                    await park_undecodable(session, body, reason=str(error))
            crash("drain.after_park")

        # Each message that is taken and not parked counts as delivered once more.
        await self._database.ping()
        try:
            await self._transport.drain_dead(self._service, self._consumers.types(), park, self._drained.set)
        finally:
            self._drained.clear()

    async def _observe(self) -> None:
        while True:
            async with self._database.transaction() as session:
                _, oldest_seconds = await outbox_status(session)
                parked = await count_parked(session)
            OUTBOX_AGE.labels(self._service).set(oldest_seconds)
            for state in ("retry", "blocked", "dead"):
                PARKED.labels(self._service, state).set(parked.get(state, 0))
            await asyncio.sleep(OBSERVE_SECONDS)


async def _within(seconds: float, work: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except (TimeoutError, TransportDown, DBAPIError, OSError) as error:
        log.warning("bus.stop_incomplete", exc_info=error)
