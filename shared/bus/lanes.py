"""Lanes: events of one key one after the other, keys side by side; a failing key holds up only itself."""

import asyncio
import random
from collections import deque

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.bus.contracts import Envelope, Undecodable
from shared.bus.crash import crash
from shared.bus.inbox import Inbox
from shared.bus.parking import park_in, park_undecodable
from shared.bus.transport import Delivery
from shared.db import Database

log = structlog.get_logger()
FIRST_BACKOFF_SECONDS = 0.02
# An event that overtook the one it builds on succeeds within this time; nobody needs to be told.
QUIET_SECONDS = 0.5


class DatabaseDown(Exception):
    """The service's own database does not answer; deliveries are given back."""


def is_database_down(error: BaseException) -> bool:
    """Whether an error says that the database is unreachable, rather than that a statement failed."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return error.connection_invalidated or state is None or state.startswith(("08", "57P", "53"))
    return isinstance(error, ConnectionError | OSError | PoolTimeout) and not isinstance(error, TimeoutError)


class Lanes:
    """Runs deliveries through the inbox. `down` is set when the database is gone: the consumer starts over."""

    def __init__(self, database: Database, inbox: Inbox, *, concurrency: int, hold_seconds: float = 30.0) -> None:
        self._database = database
        self._inbox = inbox
        self._slots = asyncio.Semaphore(concurrency)
        self._hold_seconds = hold_seconds
        self._waiting: dict[str, deque[tuple[Envelope, Delivery]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.down = asyncio.Event()

    def deliver(self, delivery: Delivery) -> None:
        """Queue a delivery on its lane; never blocks, never raises."""
        try:
            envelope = _open(delivery)
        except Undecodable as error:
            self._start(self._bury(delivery, str(error)))
            return
        lane = self._waiting.get(envelope.key)
        if lane is not None:
            lane.append((envelope, delivery))
            return
        self._waiting[envelope.key] = deque([(envelope, delivery)])
        self._start(self._run(envelope.key))

    async def finish(self) -> None:
        """Wait until every delivery that has begun is settled."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def abandon(self) -> None:
        """Stop at once; what is not acknowledged is delivered again."""
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str) -> None:
        lane = self._waiting[key]
        while lane and not self.down.is_set():
            envelope, delivery = lane[0]
            try:
                await self._settle(envelope, delivery)
            except Exception as error:
                log.warning("consumer.database_down", event_id=str(envelope.id), exc_info=error)
                self.down.set()
                return
            lane.popleft()
        self._waiting.pop(key, None)

    async def _settle(self, envelope: Envelope, delivery: Delivery) -> None:
        """Handle the event, holding its lane while retrying; park it when it keeps failing."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._hold_seconds
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                async with self._slots:
                    await self._inbox.handle(envelope, delivery)
                break
            except Undecodable as error:
                await self._park(envelope, delivery, state="dead", reason=str(error))
                break
            except Exception as error:
                if is_database_down(error) and loop.time() + backoff > deadline:
                    raise DatabaseDown from error
                say = log.info if backoff < QUIET_SECONDS else log.warning
                say("consumer.attempt_failed", event_id=str(envelope.id), event_type=envelope.type, exc_info=error)
                if loop.time() + backoff > deadline:
                    await self._park(envelope, delivery, state="retry", reason=type(error).__name__)
                    break
            await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311 (jitter)
            backoff = min(backoff * 2, 5.0)
        await delivery.acknowledge()
        crash("consumer.after_ack")

    async def _park(self, envelope: Envelope, delivery: Delivery, *, state: str, reason: str) -> None:
        async with self._database.transaction() as session:
            await park_in(session, envelope, delivery.body, state=state, reason=reason)
            await delivery.settle(session)
        log.error("consumer.parked", event_id=str(envelope.id), event_type=envelope.type, state=state)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        try:
            async with self._database.transaction() as session:
                await park_undecodable(session, delivery.body, reason=reason)
                await delivery.settle(session)
        except Exception as error:
            log.warning("consumer.database_down", exc_info=error)
            self.down.set()
            return
        await delivery.acknowledge()


def _open(delivery: Delivery) -> Envelope:
    """Decode a delivery. Raises Undecodable, also when it is another event than its sender was let publish."""
    envelope = Envelope.decode(delivery.body)
    if delivery.sent_as not in (None, envelope.type):
        # The broker grants rights by routing key: what the body says of itself proves nothing.
        raise Undecodable("its type is not its routing key")
    return envelope
