"""What both transports promise, with real PostgreSQL and real RabbitMQ."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aio_pika
import orjson
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.topology import declare
from shared.bus import Consumers, Envelope, handling, publish, publish_all
from shared.bus.amqp import AmqpTransport
from shared.bus.contracts import MAX_EVENT_BYTES
from shared.bus.local import LocalTransport
from shared.bus.parking import discard_parked, list_parked, retry_parked
from shared.bus.redaction import redact_subjects
from shared.bus.relay import redrive
from shared.bus.tables import event_log, inbox, inbox_parked, inbox_waiting, outbox
from shared.bus.transport import Transport
from shared.bus.worker import BusWorker
from shared.db import Database, utc_now, uuid7
from shared.events.feed import PostPublished
from shared.events.identity import AccountDeactivated, DeactivationReason
from tests.support.testing import wait_for

TENANT = uuid7()


class Desk:
    """Two services on one bus: `feed` writes, `notify` reacts; `seen` is what its reaction was given."""

    def __init__(
        self, feed: Database, notify: Database, transport: Callable[[], Transport], amqp_url: str, namespace: str
    ) -> None:
        self.feed, self.notify = feed, notify
        self.amqp_url, self.namespace = amqp_url, namespace
        self.new_transport = transport
        self.seen: list[tuple[str, int]] = []
        self.failing: set[str] = set()
        self.consumers = Consumers("notify")
        self.consumers.on(PostPublished)(self.react)

    async def react(self, session: AsyncSession, event: PostPublished) -> None:
        key = str(event.post_id)
        await session.execute(text("INSERT INTO effects (key) VALUES (:key)"), {"key": key})
        if key in self.failing:
            raise ValueError("refused")
        self.seen.append((key, len([1 for k, _ in self.seen if k == key]) + 1))

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[tuple[BusWorker, BusWorker]]:
        transports = [self.new_transport(), self.new_transport()]
        if isinstance(transports[0], LocalTransport):
            transports[1] = transports[0]
        writer = BusWorker("feed", self.feed, Consumers("feed"), transports[0])
        reader = BusWorker("notify", self.notify, self.consumers, transports[1], **{"hold_seconds": 0.2, **options})
        tasks = [asyncio.create_task(worker.run()) for worker in (reader, writer)]
        await wait_for(lambda: reader.is_consuming)
        await asyncio.sleep(0.2)
        yield writer, reader
        for worker in (writer, reader):
            await worker.stop()
        await asyncio.gather(*tasks)
        for transport in set(transports):
            await transport.close()

    async def post(self, post_id: UUID | None = None, *, version: int = 1, author: UUID | None = None) -> UUID:
        post_id = post_id or uuid7()
        async with self.feed.transaction(TENANT) as session:
            event = PostPublished(tenant_id=TENANT, post_id=post_id, author_id=author or uuid7(), is_announcement=False)
            await publish(session, event, version=version)
        return post_id

    async def hand_over(self, body: bytes) -> None:
        """Put bytes before the consumer as a broken or hostile publisher would."""
        transport = self.new_transport()
        if isinstance(transport, LocalTransport):
            async with self.notify.transaction() as session:
                row = {"event_id": uuid7(), "key": str(uuid7()), "body": body}
                await session.execute(inbox_waiting.insert().values(row))
            return
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            await channel.default_exchange.publish(aio_pika.Message(body), f"{self.namespace}.notify.in")

    async def count(self, database: Database, table: Any) -> int:
        async with database.transaction() as session:
            return int(await session.scalar(select(func.count()).select_from(table)) or 0)


@pytest.fixture(params=["local", "amqp"])
async def desk(request: Any, make_database: Any, amqp_url: str, bus_namespace: str) -> AsyncIterator[Desk]:
    feed, notify = await make_database(), await make_database()
    subscriptions = {"notify": [PostPublished.type, AccountDeactivated.type]}

    def new_transport() -> Transport:
        if request.param == "local":
            return LocalTransport({"feed": feed, "notify": notify}, subscriptions)
        return AmqpTransport(amqp_url, namespace=bus_namespace, subscribed=subscriptions["notify"])

    desk = Desk(feed, notify, new_transport, amqp_url, bus_namespace)
    await _create_effects(notify)
    return desk


async def _desk_over_rabbitmq(amqp_url: str, namespace: str, make_database: Any) -> Desk:
    """For what only a broker can do; nothing is declared yet, and nothing that is published has a subscriber."""
    feed, notify = await make_database(), await make_database()
    await _create_effects(notify)
    return Desk(feed, notify, lambda: AmqpTransport(amqp_url, namespace=namespace, subscribed=[]), amqp_url, "")


async def _create_effects(database: Database) -> None:
    """A table of effects: the owner role is not at hand, so the superuser makes it."""
    import os

    import asyncpg

    name = database.engine.url.database
    connection = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=name)
    await connection.execute("CREATE TABLE effects (key text)")
    await connection.execute("GRANT ALL ON effects TO PUBLIC")
    await connection.close()


async def test_a_committed_event_is_handled_once_and_a_rolled_back_one_never(desk: Desk) -> None:
    async with desk.running():
        kept = await desk.post()
        with pytest.raises(RuntimeError):
            async with desk.feed.transaction(TENANT) as session:
                event = PostPublished(tenant_id=TENANT, post_id=uuid7(), author_id=uuid7(), is_announcement=False)
                await publish(session, event)
                raise RuntimeError("undone")
        await wait_for(lambda: desk.seen)
        await asyncio.sleep(0.3)
    assert desk.seen == [(str(kept), 1)]
    assert await desk.count(desk.feed, outbox) == 0


async def test_deliveries_repeated_three_times_have_one_effect(desk: Desk) -> None:
    async with desk.running():
        await desk.post()
        await wait_for(lambda: desk.seen)
        for _ in range(3):
            assert await redrive(desk.feed, since=utc_now().replace(year=2000)) == 1
            await wait_for(lambda: _is_empty(desk.feed))
        await asyncio.sleep(0.3)
    assert len(desk.seen) == 1


async def _is_empty(database: Database) -> bool:
    async with database.transaction() as session:
        return not await session.scalar(select(func.count()).select_from(outbox))


async def test_a_backlog_of_several_batches_keeps_each_key_in_order(desk: Desk) -> None:
    order: dict[str, list[int]] = defaultdict(list)

    async def note(session: AsyncSession, event: PostPublished) -> None:
        envelope = handling.get()
        assert isinstance(envelope, Envelope)
        order[envelope.key].append(envelope.version)

    desk.consumers.on(PostPublished)(note)
    # One key fills more than a batch, so that the next batch begins with a key that is in flight.
    busy, others = uuid7(), [uuid7() for _ in range(40)]
    for start in range(0, 300, 50):
        async with desk.feed.transaction(TENANT) as session:
            await publish_all(session, [(_posted(busy), version + 1) for version in range(start, start + 50)])
    for version in range(1, 11):
        async with desk.feed.transaction(TENANT) as session:
            await publish_all(session, [(_posted(other), version) for other in others])
    async with desk.running():
        await wait_for(lambda: _has(desk.notify, inbox, 700), seconds=30)
        await wait_for(lambda: _is_empty(desk.feed))
    assert order.pop(str(busy)) == list(range(1, 301))
    assert list(order.values()) == [list(range(1, 11))] * 40


def _posted(post_id: UUID) -> PostPublished:
    return PostPublished(tenant_id=TENANT, post_id=post_id, author_id=uuid7(), is_announcement=False)


async def test_a_failing_key_is_parked_and_blocks_only_itself(desk: Desk) -> None:
    poisoned = uuid7()
    desk.failing.add(str(poisoned))
    async with desk.running():
        await desk.post(poisoned, version=1)
        await desk.post(poisoned, version=2)
        others = [await desk.post() for _ in range(5)]
        await wait_for(lambda: len(desk.seen) == 5)
        assert {key for key, _ in desk.seen} == {str(other) for other in others}
        parked = await wait_for(lambda: _parked(desk.notify, 2))
        assert [entry.state for entry in parked] == ["retry", "blocked"]
        desk.failing.clear()
        async with desk.notify.transaction() as session:
            assert await retry_parked(session, parked[0].event_id)
        # Not `seen`: it knows of a reaction before its transaction has ended.
        await wait_for(lambda: _has(desk.notify, inbox_parked, 0))
    assert len(desk.seen) == 7
    assert [key for key, _ in desk.seen[-2:]] == [str(poisoned)] * 2


async def _parked(database: Database, count: int) -> Any:
    async with database.transaction() as session:
        found = await list_parked(session)
    return found if len(found) == count else None


async def test_a_discarded_event_lets_its_key_go_on(desk: Desk) -> None:
    poisoned = uuid7()
    desk.failing.add(str(poisoned))
    async with desk.running():
        await desk.post(poisoned, version=1)
        parked = await wait_for(lambda: _parked(desk.notify, 1))
        desk.failing.clear()
        await desk.post(poisoned, version=2)
        await wait_for(lambda: _parked(desk.notify, 2))
        async with desk.notify.transaction() as session:
            assert await discard_parked(session, parked[0].event_id)
        await wait_for(lambda: len(desk.seen) == 1)


async def test_a_late_event_of_an_erased_person_is_consumed_without_effect(desk: Desk) -> None:
    async def refuse(session: AsyncSession, event: PostPublished) -> None:
        await session.execute(
            text("SELECT refuse_erased(:tenant, ARRAY[:author]::uuid[])"),
            {"tenant": event.tenant_id, "author": event.author_id},
        )

    author = uuid7()
    async with desk.notify.transaction(TENANT) as session:
        await session.execute(
            text("INSERT INTO tombstones (digest) VALUES (tombstone_digest(:t, :a))"), {"t": TENANT, "a": author}
        )
    desk.consumers.on(PostPublished)(refuse)
    async with desk.running():
        await desk.post(author=author)
        await wait_for(lambda: _outcomes(desk.notify, "subject_erased"))
    assert await desk.count(desk.notify, inbox_parked) == 0


async def _outcomes(database: Database, outcome: str) -> int:
    async with database.transaction() as session:
        found = select(func.count()).select_from(inbox).where(inbox.c.outcome == outcome)
        return int(await session.scalar(found) or 0)


async def test_an_erasure_overtakes_parked_events_of_its_key(desk: Desk) -> None:
    account, erased = uuid7(), []

    async def erase(session: AsyncSession, event: AccountDeactivated) -> None:
        erased.append(event.account_id)

    desk.consumers.on(AccountDeactivated, overtakes=True)(erase)
    async with desk.notify.transaction() as session:
        row = {"event_id": uuid7(), "type": "x", "key": str(account), "body": b"", "state": "dead", "reason": "test"}
        await session.execute(inbox_parked.insert().values(row))
    async with desk.running():
        async with desk.feed.transaction(TENANT) as session:
            event = AccountDeactivated(
                tenant_id=TENANT, account_id=account, case_id=uuid7(), reason=DeactivationReason.OWN_REQUEST
            )
            await publish(session, event)
        await wait_for(lambda: erased)


async def test_a_handler_that_hangs_is_parked(desk: Desk) -> None:
    async def hang(session: AsyncSession, event: PostPublished) -> None:
        await asyncio.sleep(60)

    desk.consumers.on(PostPublished)(hang)
    async with desk.running(handling_seconds=0.2, hold_seconds=0.1):
        await desk.post()
        (parked,) = await wait_for(lambda: _parked(desk.notify, 1))
    assert parked.reason == "TimeoutError"


async def test_bytes_that_are_no_event_end_dead_with_a_reason_and_hold_nothing_up(desk: Desk) -> None:
    good = PostPublished(tenant_id=TENANT, post_id=uuid7(), author_id=uuid7(), is_announcement=False)
    envelope = Envelope(uuid7(), good.type, TENANT, good.key, 1, 0, utc_now(), good.model_dump(mode="json"))

    def changed(**fields: Any) -> bytes:
        # Of a key of its own: a dead event holds up its own key, by design.
        return orjson.dumps({**orjson.loads(envelope.encode()), "id": str(uuid7()), "subject": str(uuid7()), **fields})

    hostile = {
        b"\xff\xfe not json": "envelope",
        b"[]": "envelope",
        b" " * (MAX_EVENT_BYTES + 1): "larger",
        changed(type="feed.post.published.v9"): "unknown event type",
        changed(data={"post_id": "x"}): "does not fit",
    }
    async with desk.running():
        for body in hostile:
            await desk.hand_over(body)
        posted = await desk.post()
        await wait_for(lambda: desk.seen)
        parked = await wait_for(lambda: _parked(desk.notify, len(hostile)))
    assert desk.seen == [(str(posted), 1)]
    assert {entry.state for entry in parked} == {"dead"}
    for reason in hostile.values():
        assert any(reason in entry.reason for entry in parked), reason


async def test_an_event_in_the_clothes_of_another_ends_dead(
    amqp_url: str, bus_namespace: str, make_database: Any
) -> None:
    """The broker lets a service publish by routing key: a body that says something else is somebody's forgery."""
    desk = await _desk_over_rabbitmq(amqp_url, bus_namespace, make_database)
    notify = desk.notify
    erased: list[UUID] = []

    async def erase(session: AsyncSession, event: AccountDeactivated) -> None:
        erased.append(event.account_id)

    desk.consumers.on(AccountDeactivated, overtakes=True)(erase)
    event = AccountDeactivated(
        tenant_id=TENANT, account_id=uuid7(), case_id=uuid7(), reason=DeactivationReason.OWN_REQUEST
    )
    await declare(
        amqp_url, namespace=bus_namespace, subscriptions={"notify": [PostPublished.type, AccountDeactivated.type]}
    )
    body = Envelope(uuid7(), event.type, TENANT, event.key, 1, 0, utc_now(), event.model_dump(mode="json")).encode()
    async with await aio_pika.connect(amqp_url) as connection, desk.running():
        exchange = await (await connection.channel()).get_exchange(f"{bus_namespace}.events")
        await exchange.publish(aio_pika.Message(body), PostPublished.type)
        (parked,) = await wait_for(lambda: _parked(notify, 1))
        assert (parked.state, parked.reason, erased) == ("dead", "its type is not its routing key", [])
        await exchange.publish(aio_pika.Message(body), AccountDeactivated.type)
        assert await wait_for(lambda: erased) == [event.account_id]


async def test_what_the_broker_gave_up_on_is_parked_before_what_is_behind_it_is_handled(
    amqp_url: str, bus_namespace: str, make_database: Any
) -> None:
    """A message that ends its worker too often is dead when the next worker starts; the events of its key still wait."""
    desk = await _desk_over_rabbitmq(amqp_url, bus_namespace, make_database)
    notify = desk.notify
    subscriptions = {"notify": [PostPublished.type]}
    await declare(amqp_url, namespace=bus_namespace, subscriptions=subscriptions)
    event = PostPublished(tenant_id=TENANT, post_id=uuid7(), author_id=uuid7(), is_announcement=False)
    dead, *living = (
        Envelope(uuid7(), event.type, TENANT, event.key, version, 0, utc_now(), event.model_dump(mode="json")).encode()
        for version in range(1, 8)
    )
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        for body in living:
            await channel.default_exchange.publish(aio_pika.Message(body), f"{bus_namespace}.notify.in")
        await channel.default_exchange.publish(aio_pika.Message(dead), f"{bus_namespace}.notify.dead")
    async with desk.running():
        parked = await wait_for(lambda: _parked(notify, 1 + len(living)))
        assert [entry.state for entry in parked] == ["dead", *["blocked"] * len(living)]
        assert desk.seen == []
        async with notify.transaction() as session:
            assert await retry_parked(session, parked[0].event_id)
        await wait_for(lambda: _has(notify, inbox_parked, 0))
    assert len(desk.seen) == 1 + len(living)


async def test_contents_are_redacted_at_once_when_relayed_and_on_confirm_otherwise(desk: Desk) -> None:
    author = uuid7()
    await desk.post(author=author)
    async with desk.feed.transaction(TENANT) as session:
        assert await redact_subjects(session, [author], keep_types=()) == 1
    assert await _log_of(desk.feed, author) == 1, "not relayed yet: the broker still needs it"
    async with desk.running():
        await wait_for(lambda: desk.seen)
        await wait_for(lambda: _is_empty(desk.feed))
        assert await _log_of(desk.feed, author) == 0
        await desk.post(author=author)
        await wait_for(lambda: len(desk.seen) == 2)
        await wait_for(lambda: _is_empty(desk.feed))
    async with desk.feed.transaction(TENANT) as session:
        assert await redact_subjects(session, [author], keep_types=()) == 1
    assert await _log_of(desk.feed, author) == 0


async def _log_of(database: Database, account: UUID) -> int:
    query = "SELECT count(*) FROM event_log WHERE position(:id IN event_log::text) > 0"
    async with database.transaction() as session:
        return int(await session.scalar(text(query), {"id": str(account)}) or 0)


async def test_nothing_is_lost_doubled_or_reordered_under_random_failures(desk: Desk) -> None:
    """Invariants I1 to I5 of the design, with 5 % rollbacks and a tenth of the handlings raising."""
    rng = random.Random(7)
    order: dict[str, list[int]] = defaultdict(list)

    async def stumble(session: AsyncSession, event: PostPublished) -> None:
        if rng.random() < 0.1:
            raise ValueError("stumbled")
        envelope = handling.get()
        assert isinstance(envelope, Envelope)
        order[envelope.key].append(envelope.version)

    desk.consumers.on(PostPublished)(stumble)
    keys = [uuid7() for _ in range(20)]
    versions: dict[UUID, int] = defaultdict(int)
    async with desk.running(hold_seconds=5.0):
        for _ in range(400):
            key = rng.choice(keys)
            if rng.random() < 0.05:
                with pytest.raises(RuntimeError):
                    async with desk.feed.transaction(TENANT) as session:
                        await publish(
                            session,
                            PostPublished(tenant_id=TENANT, post_id=key, author_id=uuid7(), is_announcement=False),
                            version=10**6,
                        )
                        raise RuntimeError("undone")
                continue
            versions[key] += 1
            await desk.post(key, version=versions[key])
        expected = sum(versions.values())
        await wait_for(lambda: _has(desk.notify, inbox, expected), seconds=60)
    assert await desk.count(desk.feed, event_log) == expected
    assert await desk.count(desk.feed, outbox) == 0
    for key, count in versions.items():
        assert order[str(key)] == list(range(1, count + 1))


async def _has(database: Database, table: Any, expected: int) -> bool:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(table)) == expected
