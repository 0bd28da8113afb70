"""Data that is there before a bus benchmark begins, written set-based: events to relay, logs and inboxes of any size."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.event import listen

from shared.db import Database, uuid7
from tests.bench.stand import Stand
from tests.bench.wires import TYPE, WRITER
from tests.support.testing import SQLALCHEMY_SCHEME

TENANT = uuid7()
_LOG = (
    "INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, subject_ids, relayed_at)"
    f" SELECT uuidv7(), $1, '{TYPE}', post, 1, now(), jsonb_build_object('tenant_id', $1::uuid, 'post_id', post,"
    "  'author_id', author, 'is_announcement', false), ARRAY[author], {relayed_at}"
    " FROM (SELECT md5((n % ($2 / 2 + 1))::text)::uuid AS post, gen_random_uuid() AS author"
    "  FROM generate_series(1, $2::int) n) events"
)
# Each aggregate has two events, half a backlog apart.
_WAITING = (
    f"WITH written AS ({_LOG.format(relayed_at='NULL')} RETURNING position, key)"
    " INSERT INTO outbox (position, key) SELECT position, key FROM written"
)
_RELAYED = _LOG.format(relayed_at="now()")
_INBOX = f"INSERT INTO inbox (event_id, type) SELECT uuidv7(), '{TYPE}' FROM generate_series(1, $1::int)"


@dataclass(frozen=True, slots=True)
class Store:
    """A cloned database: the product's pool, its application address, and a plain connection of the owner."""

    database: Database
    owner: asyncpg.Connection
    app_url: str

    @classmethod
    async def of(cls, stand: Stand, service: str = WRITER) -> "Store":
        urls = await stand.databases.clone(service)
        database = Database(urls.app, pool_size=10)
        stand.closing(database.close)
        owner = await asyncpg.connect(plain(urls.owner))
        stand.closing(owner.close)
        return cls(database, owner, plain(urls.app))

    async def wait(self, count: int) -> None:
        """Write `count` events that wait for the relay."""
        await self.owner.execute(_WAITING, TENANT, count)

    async def grow_log(self, count: int) -> None:
        """Bring the log to `count` relayed events."""
        await self._grow("event_log", _RELAYED, TENANT, count)

    async def grow_inbox(self, count: int) -> None:
        """Bring the inbox to `count` handled events."""
        await self._grow("inbox", _INBOX, count)

    async def _grow(self, table: str, statement: str, *values: Any) -> None:
        # Filled without its indexes, which are built once: the same content in a fraction of the time.
        indexes = await self.owner.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname LIKE 'ix%'", table
        )
        for index in indexes:
            await self.owner.execute(f"DROP INDEX {index['indexname']}")
        await self.owner.execute(statement, *values)
        for index in indexes:
            await self.owner.execute(index["indexdef"])
        await self.owner.execute(f"VACUUM ANALYZE {table}")


def plain(url: str) -> str:
    """Return the address as asyncpg takes it."""
    return url.replace(SQLALCHEMY_SCHEME, "postgresql://")


class Cost:
    """What work has cost this process: CPU milliseconds, and statements of one pool, BEGIN and COMMIT included."""

    def __init__(self, database: Database) -> None:
        self.statements = 0
        self.cpu_ms = 0.0
        engine = database.engine.sync_engine
        listen(engine, "before_cursor_execute", self._count)
        listen(engine, "connect", lambda adapted, _: adapted.driver_connection.add_query_logger(self._count))

    async def of(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work`; afterwards `statements` and `cpu_ms` are its own."""
        self.statements, began = 0, time.process_time()
        await work()
        self.cpu_ms = (time.process_time() - began) * 1000

    def notes(self, count: int) -> dict[str, float]:
        return {"statements_per_event": self.statements / count, "cpu_ms_per_event": self.cpu_ms / count}

    def _count(self, *_: object) -> None:
        self.statements += 1
