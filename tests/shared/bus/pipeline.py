"""The whole pipeline of two services in one process: real code, real PostgreSQL, a fake broker and a fake clock.

`feed` writes and has two relays, `notify` has a consumer with lanes and a parked runner. Each of these processes
can be killed; what it held is then gone, what it had committed is not.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import Consumers, Envelope, crash, handling, publish
from shared.bus.parking import discard_parked, retry_parked
from shared.bus.redaction import redact_subjects
from shared.bus.relay import redrive
from shared.db import Database, utc_now, uuid7
from shared.events.feed import PostPublished
from tests.shared.bus.broker import Broker, Fate
from tests.shared.bus.clock import Clock, Killed
from tests.shared.bus.processes import ConsumerProcess, RelayProcess

TENANT = uuid7()
HANG_SECONDS = 31.0
LONG_SECONDS = 4000.0
EMPTY = ("event_log", "outbox", "leases"), ("inbox", "inbox_parked", "watermarks", "effects")


class Undone(Exception):
    """The business transaction fails after it has published."""


@dataclass(frozen=True, slots=True)
class Effect:
    event_id: UUID
    key: str
    version: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A parked event."""

    event_id: UUID
    key: str
    type: str
    state: str


class Pipeline:
    """Everything that the state machine can do; what it believes stays with the machine."""

    def __init__(self, clock: Clock, feed: Database, notify: Database) -> None:
        self.clock, self.feed, self.notify = clock, feed, notify
        self.breaches: list[str] = []
        self.consumers = Consumers("notify")
        self.consumers.on(PostPublished)(self._react)
        self.open: dict[str, tuple[AbstractAsyncContextManager[AsyncSession], UUID]] = {}
        self.consumer: ConsumerProcess | None = None
        self.relays: list[RelayProcess] = []

    async def reset(self) -> None:
        """End every process and start over on empty tables."""
        await self._end()
        for database, tables in zip((self.feed, self.notify), EMPTY, strict=True):
            async with database.transaction() as session:
                for table in tables:
                    await session.execute(text(f"DELETE FROM {table}"))
        self.broker = Broker()
        self.failures: Counter[str] = Counter()
        self.hanging: str | None = None
        self.attempted: list[UUID] = []
        self.relays = [RelayProcess(self.feed, self.broker) for _ in range(2)]
        self.consumer = ConsumerProcess(self.notify, self.consumers, self.broker)
        await self.settle()

    def kill(self) -> None:
        """End the process that has come to an armed crash point; stands in for `crash.end`."""
        crash.arm("")
        if self.consumer is not None and asyncio.current_task() in self.consumer.tasks():
            self.consumer.is_killed = True
        raise Killed

    async def close(self) -> None:
        await self._end()
        await self.feed.close()
        await self.notify.close()

    async def _end(self) -> None:
        for key in list(self.open):
            await self.finish(key, is_kept=False)
        for process in self.relays:
            if process.held is not None:
                process.held.cancel()
                await asyncio.gather(process.held, return_exceptions=True)
        if self.consumer is not None:
            await self.consumer.end()

    async def _react(self, session: AsyncSession, event: PostPublished) -> None:
        envelope = handling.get()
        assert isinstance(envelope, Envelope)
        self.attempted.append(envelope.id)
        row = {"event_id": envelope.id, "key": envelope.key, "version": envelope.version}
        await session.execute(
            text("INSERT INTO effects (event_id, key, version) VALUES (:event_id, :key, :version)"), row
        )
        if self.hanging == envelope.key:
            await asyncio.sleep(3600)
        if self.failures[envelope.key] > 0:
            self.failures[envelope.key] -= 1
            raise ValueError("refused")

    async def write(self, key: str, versions: list[int], *, author: UUID) -> list[UUID]:
        async with self.feed.transaction(TENANT) as session:
            return [await publish(session, _post(key, author), version=version) for version in versions]

    async def begin(self, key: str, version: int, *, author: UUID) -> UUID:
        """Write in a transaction that stays open."""
        transaction = self.feed.transaction(TENANT)
        session = await transaction.__aenter__()
        event_id = await publish(session, _post(key, author), version=version)
        self.open[key] = transaction, event_id
        return event_id

    async def finish(self, key: str, *, is_kept: bool) -> UUID:
        """Commit or undo the open transaction of a key; return the id of its event."""
        transaction, event_id = self.open.pop(key)
        error = None if is_kept else Undone()
        with suppress(Undone):
            await transaction.__aexit__(type(error) if error else None, error, None)
        return event_id

    async def relay(self, index: int, fate: Fate | None = None) -> None:
        process = self.relays[index]
        process.wire.fate = fate
        await self._relayed(index, process.turn())

    async def hold(self, index: int, place: str) -> None:
        """Let a relay stop in the middle of its publish, as a paused process does."""
        process = self.relays[index]
        process.wire.held_at = place
        process.held = asyncio.create_task(process.turn())
        reached = asyncio.create_task(process.wire.reached.wait())
        await asyncio.wait([process.held, reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if process.held.done():
            await self.free(index)

    async def free(self, index: int) -> None:
        process = self.relays[index]
        assert process.held is not None
        process.wire.freed.set()
        await self._relayed(index, process.held)
        process.held, process.wire.held_at = None, None
        process.wire.reached.clear()
        process.wire.freed.clear()

    async def _relayed(self, index: int, turn: "Coroutine[Any, Any, None] | asyncio.Task[None]") -> None:
        try:
            await turn
        except Killed:
            # Its successor is another holder: the lease has to expire first.
            self.relays[index] = RelayProcess(self.feed, self.broker)

    async def deliver(self, count: int) -> None:
        assert self.consumer is not None
        self.broker.deliver(count, self.consumer.lanes.deliver)
        await self.settle()

    async def settle(self) -> None:
        """Wait until every lane and the parked runner rest; a killed consumer is started anew."""
        assert self.consumer is not None
        await self.clock.settle(self.consumer.tasks)
        if self.consumer.is_killed:
            await self.restart()
            await self.settle()

    async def restart(self) -> None:
        assert self.consumer is not None
        await self.consumer.end()
        self.broker.disconnect()
        self.consumer = ConsumerProcess(self.notify, self.consumers, self.broker)

    async def disconnect(self) -> None:
        """Lose the consumer's connection: everything unacknowledged is given back."""
        assert self.consumer is not None
        await self.consumer.disconnect()
        self.broker.disconnect()
        self.consumer.connect()

    async def advance(self, seconds: float) -> None:
        """Let time pass, on the loop and in both databases."""
        age = {"age": seconds}
        async with self.feed.transaction() as session:
            await session.execute(text("UPDATE leases SET expires_at = expires_at - make_interval(secs => :age)"), age)
        async with self.notify.transaction() as session:
            aged = (
                "UPDATE inbox_parked SET retry_at = retry_at - make_interval(secs => :age) WHERE retry_at IS NOT NULL"
            )
            await session.execute(text(aged), age)
        await self.clock.advance(seconds)
        await self.settle()

    async def decide(self, event_id: UUID, *, is_kept: bool) -> None:
        async with self.notify.transaction() as session:
            assert await (retry_parked if is_kept else discard_parked)(session, event_id)

    async def redrive(self) -> None:
        await redrive(self.feed, since=utc_now().replace(year=2000))

    async def redact(self, author: UUID, *, redrives: bool) -> None:
        async with self.feed.transaction(TENANT) as session:
            await redact_subjects(session, [author], keep_types=())
            if redrives:
                await self.redrive()

    async def lose_the_volume(self) -> set[UUID]:
        """Forget every message and redrive; return those that are not on their way again."""
        await self.disconnect()
        lost = {message.id for message in self.broker.ready}
        for index, process in enumerate(self.relays):
            if process.held is not None:
                process.wire.fate = Fate("cut", 0)
                await self.free(index)
        self.broker.wipe()
        await self.redrive()
        return lost - await self.to_be_sent()

    async def calm(self) -> None:
        """End what was held up on purpose."""
        for index, process in enumerate(self.relays):
            if process.held is not None:
                await self.free(index)

    async def drain(self) -> bool:
        """One round of everything; True when nothing is left but what is dead or waits behind it."""
        for index in range(2):
            await self.relay(index)
        await self.deliver(1000)
        await self.advance(LONG_SECONDS)
        await self.disconnect()
        parked = await self.parked()
        dead = {one.key for one in parked if one.state == "dead"}
        is_parked_in_vain = any(one.state != "dead" and one.key not in dead for one in parked)
        return not (is_parked_in_vain or self.broker.ready or await self.outbox())

    async def effects(self) -> list[Effect]:
        async with self.notify.transaction() as session:
            rows = await session.execute(text("SELECT event_id, key, version FROM effects ORDER BY position"))
            return [Effect(*row) for row in rows]

    async def parked(self) -> list[Waiting]:
        async with self.notify.transaction() as session:
            found = "SELECT event_id, key, type, state FROM inbox_parked ORDER BY position"
            return [Waiting(*row) for row in await session.execute(text(found))]

    async def outbox(self) -> set[UUID]:
        async with self.feed.transaction() as session:
            pointed = "SELECT event_id FROM outbox JOIN event_log USING (position)"
            return set((await session.scalars(text(pointed))).all())

    async def to_be_sent(self) -> set[UUID]:
        """What the outbox points to and an erasure has not emptied: the relay sends nothing else."""
        async with self.feed.transaction() as session:
            pointed = "SELECT event_id FROM outbox JOIN event_log USING (position) WHERE data IS NOT NULL"
            return set((await session.scalars(text(pointed))).all())

    async def redacted(self) -> set[UUID]:
        async with self.feed.transaction() as session:
            empty = "SELECT event_id FROM event_log WHERE data IS NULL AND key IS NULL"
            return set((await session.scalars(text(empty))).all())


def _post(key: str, author: UUID) -> PostPublished:
    return PostPublished(tenant_id=TENANT, post_id=UUID(key), author_id=author, is_announcement=False)
