"""The consumer: events/s handled (inbox row and one UPDATE), against asyncpg doing the same statements.

Both sides take the same messages from memory, one transaction per message, four at a time: with the broker in between
both would pay aio-pika's price for receiving, which would hide the difference. The raw side decodes the message,
prepares its statements once per connection and keeps no order per aggregate, no retries and no traces.
"""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import Consumers, Envelope
from shared.bus.inbox import Inbox
from shared.bus.lanes import Lanes
from shared.bus.transport import Delivery
from shared.db import fetch, utc_now, uuid7
from shared.events.feed import PostPublished
from shared.telemetry import configure_tracing
from tests.bench.backlogs import TENANT, Cost, Store
from tests.bench.figures import ROUNDS, Figure, Round, Sample, alternating, at_least, bench, interleaved, timed
from tests.bench.stand import Stand
from tests.bench.wires import READER

EVENTS = 2000
CONCURRENCY = 4
INBOXES = (10_000, 100_000, 1_000_000)
OPEN = (
    "WITH fresh AS (INSERT INTO inbox (event_id, type) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1)"
    " SELECT EXISTS (SELECT FROM fresh), EXISTS (SELECT FROM inbox_parked WHERE key = $3)"
)
COUNT_UP = "UPDATE tallies SET posts = posts + 1 WHERE post_id = $1"
consumers = Consumers(READER)


@consumers.on(PostPublished)
async def count_up(session: AsyncSession, event: PostPublished) -> None:
    await fetch(session, COUNT_UP, event.post_id)


class Reader:
    """A consumer's database with a table to update, and fresh messages for each round."""

    def __init__(self, store: Store, count: int) -> None:
        self.store = store
        self.count = count
        self._posts = [uuid7() for _ in range(count // 2)]

    @classmethod
    async def of(cls, stand: Stand) -> "Reader":
        reader = cls(await Store.of(stand, READER), stand.many(EVENTS, least=100))
        owner = reader.store.owner
        await owner.execute("CREATE TABLE tallies (post_id uuid PRIMARY KEY, posts bigint NOT NULL DEFAULT 0)")
        await owner.execute("GRANT ALL ON tallies TO PUBLIC")
        await owner.execute("INSERT INTO tallies (post_id) SELECT unnest($1::uuid[])", reader._posts)
        return reader

    def messages(self) -> list[bytes]:
        """Return messages that nobody has handled yet, two per aggregate, half a round apart."""
        return [_message(self._posts[number % len(self._posts)]) for number in range(self.count)]

    async def ours(self) -> Sample:
        messages = self.messages()
        return await timed(self.count, lambda: self.handle(messages))

    async def handle(self, messages: list[bytes]) -> None:
        lanes = Lanes(self.store.database, Inbox(self.store.database, consumers), concurrency=CONCURRENCY)
        for message in messages:
            lanes.deliver(Delivery(message, _nothing, _nothing))
        await lanes.finish()

    async def raw(self, pool: list[asyncpg.Connection]) -> Sample:
        waiting = iter(self.messages())

        async def worker(connection: asyncpg.Connection) -> None:
            opening, counting = await connection.prepare(OPEN), await connection.prepare(COUNT_UP)
            for message in waiting:
                body = orjson.loads(message)
                await connection.execute(f"BEGIN; SELECT set_config('cowork.tenant', '{body['tenant']}', true)")
                opened = await opening.fetchrow(body["id"], body["type"], body["subject"])
                if opened[0] and not opened[1]:
                    await counting.fetch(body["data"]["post_id"])
                await connection.execute("COMMIT")

        return await timed(self.count, lambda: asyncio.gather(*map(worker, pool)))

    async def tallied(self) -> int:
        return int(await self.store.owner.fetchval("SELECT sum(posts) FROM tallies"))


def _message(post_id: UUID) -> bytes:
    event = PostPublished(tenant_id=TENANT, post_id=post_id, author_id=uuid7(), is_announcement=False)
    data = event.model_dump(mode="json")
    return Envelope(uuid7(), event.type, TENANT, event.key, 1, 0, utc_now(), data).encode()


async def _nothing(*_: Any) -> None:
    return None


@bench("consumer")
async def consumer(stand: Stand) -> list[Figure]:
    configure_tracing("bench")
    return [await _against_the_limit(stand), await _growth(stand)]


async def _against_the_limit(stand: Stand) -> Figure:
    reader = await Reader.of(stand)
    pool = [await asyncpg.connect(reader.store.app_url) for _ in range(CONCURRENCY)]
    mine, limit = await interleaved(reader.ours, lambda: reader.raw(pool))
    for connection in pool:
        await connection.close()
    assert await reader.tallied() == 2 * (ROUNDS + 1) * reader.count, "both sides have counted every message once"
    counted = await Reader.of(stand)
    messages, cost = counted.messages(), Cost(counted.store.database)
    await cost.of(lambda: counted.handle(messages))
    return Figure(
        "consumer",
        value=mine.rate,
        unit="events/s",
        limit=limit.rate,
        ratio=mine.rate / limit.rate,
        goals=(at_least("ratio", 0.7),),
        record="0018",
        notes=cost.notes(counted.count),
    )


async def _growth(stand: Stand) -> Figure:
    """The same work beside an inbox of 1×, 10× and 100× handled events; the limit is the rate at 1×."""
    sizes = [stand.many(size) for size in INBOXES]
    runs: list[Round] = []
    for size in sizes:
        reader = await Reader.of(stand)
        await reader.store.grow_inbox(size)
        runs.append(reader.ours)
    rates = [found.rate for found in await alternating(*runs)]
    return Figure(
        "consumer growth",
        value=rates[-1],
        unit="events/s",
        limit=rates[0],
        ratio=rates[-1] / rates[0],
        goals=(at_least("ratio", 0.8),),
        record="0018",
        series=tuple((size, rate, None) for size, rate in zip(sizes, rates, strict=True)),
    )
