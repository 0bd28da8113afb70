"""One moment of all databases: relays pause, every database exports a snapshot, relays go on.

While the relays rest no event passes from one service to another, and whatever has passed before was committed before. So
no snapshot holds the effect of an event that its publisher's snapshot lacks. The other way round, what a consumer has not
handled yet, is cured at the restore: the logs are sent again, and inboxes drop what they know.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table

from deploy.backup.places import Place, connected
from shared.bus.leases import LEASE_SECONDS
from shared.events import SERVICES
from shared.migrate import metadata_of
from shared.privacy.manifest import column_mark
from shared.privacy.marks import Personal

PAUSE_SECONDS = 30
# A relay looks at its lease after a third of its time: what it takes until then is committed before our snapshots.
UNTIL_NOTICED_SECONDS = LEASE_SECONDS / 3 + 0.5
_IS_HELD = "SELECT EXISTS (SELECT FROM leases WHERE name = 'relay' AND expires_at > now())"
_TAKE = (
    "INSERT INTO leases (name, holder, expires_at) VALUES ('relay', $1, now() + make_interval(secs => $2))"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = leases.epoch + 1,"
    " expires_at = excluded.expires_at"
)
_GIVE_BACK = "UPDATE leases SET expires_at = now() - interval '1 second' WHERE name = 'relay' AND holder = $1"
_IS_OURS = "SELECT EXISTS (SELECT FROM leases WHERE name = 'relay' AND holder = $1 AND expires_at > clock_timestamp())"
_STATE = (
    "SELECT pg_export_snapshot() AS id, (SELECT coalesce(max(position), 0) FROM event_log) AS position,"
    " (SELECT count(*) FROM outbox) AS waiting,"
    " (SELECT array_agg(version_num ORDER BY version_num) FROM alembic_version) AS revisions"
)


class PauseEnded(RuntimeError):
    """A relay did not rest until the last snapshot was taken: they are not of one moment, and nothing is kept."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A database at one moment: `id` is for pg_dump, `file_keys` are the files that its rows name."""

    id: str
    position: int
    waiting: int
    revisions: list[str]
    file_keys: list[str]


@asynccontextmanager
async def snapshots(place: Place) -> AsyncIterator[Mapping[str, Snapshot]]:
    """Yield every service's snapshot, all of one moment; they last as long as the body. Raises PauseEnded."""
    async with AsyncExitStack() as stack:
        owners: dict[str, Any] = {}
        states: dict[str, Any] = {}
        async with _paused_relays(place):
            for name in SERVICES:
                owner = await stack.enter_async_context(connected(place.owners[name]))
                await stack.enter_async_context(owner.transaction(isolation="repeatable_read", readonly=True))
                owners[name], states[name] = owner, await owner.fetchrow(_STATE)
        # Of the same moment, and no longer anybody's wait.
        yield {name: Snapshot(**states[name], file_keys=await file_keys(owners[name], name)) for name in SERVICES}


async def revisions_of(address: str) -> list[str]:
    """Return the revisions of a database, a service's or the ledger's; none where it has no tables."""
    async with connected(address) as owner:
        if await owner.fetchval("SELECT to_regclass('public.alembic_version') IS NULL"):
            return []
        return [row["version_num"] for row in await owner.fetch("SELECT version_num FROM alembic_version")]


async def file_keys(owner: Any, service: str) -> list[str]:
    """Return the keys of the files that a service's rows name; the marks say in which columns they are."""
    found: list[str] = []
    for table in metadata_of(service).sorted_tables:
        for column in _file_columns(table):
            rows = await owner.fetch(f"SELECT {column} AS key FROM {table.name} WHERE {column} IS NOT NULL")
            found += [row["key"] for row in rows]
    return found


def _file_columns(table: Table) -> list[str]:
    marks = {column.name: column_mark(column) for column in table.columns}
    return [n for n, mark in marks.items() if isinstance(mark, Personal) and mark.category.startswith("file.")]


@asynccontextmanager
async def _paused_relays(place: Place) -> AsyncIterator[None]:
    """Hold every relay's lease. If this process dies, they run out by themselves. Raises PauseEnded when one did."""
    us = uuid4()
    try:
        held = [await _take(place.owners[name], us) for name in SERVICES]
        if any(held):
            await asyncio.sleep(UNTIL_NOTICED_SECONDS)
        yield
        for name in SERVICES:
            async with connected(place.owners[name]) as owner:
                if not await owner.fetchval(_IS_OURS, us):
                    raise PauseEnded(f"the relay of {name} went on before every database had its snapshot: try again")
    finally:
        for name in SERVICES:
            async with connected(place.owners[name]) as owner:
                await owner.execute(_GIVE_BACK, us)


async def _take(address: str, us: UUID) -> bool:
    """Take a relay's lease from whoever holds it; return whether somebody did."""
    async with connected(address) as owner:
        is_held = bool(await owner.fetchval(_IS_HELD))
        await owner.execute(_TAKE, us, float(PAUSE_SECONDS))
    return is_held
