"""Retries and dead letters live in the consumer's own database, where every mode finds them and erasure reaches them.

States: `retry` (due at retry_at), `blocked` (behind an earlier parked event of its key), `dead` (for a person to see).
A key with a parked event hands nothing on until that event is handled or discarded.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import Envelope, Undecodable
from shared.bus.tables import inbox_parked
from shared.db import Database, fetch

MAX_ATTEMPTS = 10
FIRST_RETRY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked event as an operator sees it; the payload is ids and enums, the body of an undecodable one is not shown."""

    event_id: UUID
    type: str
    key: str
    state: str
    reason: str
    attempts: int
    parked_at: datetime
    retry_at: datetime | None


async def park_in(session: AsyncSession, envelope: Envelope, body: bytes, *, state: str, reason: str) -> None:
    """Write the parked row in this transaction; an event that is parked already stays as it is."""
    try:
        subjects = envelope.event().subject_ids()
    except Undecodable:
        subjects = []
    row: dict[str, Any] = {
        "event_id": envelope.id,
        "tenant_id": envelope.tenant_id,
        "type": envelope.type,
        "key": envelope.key,
        "body": body,
        "subject_ids": subjects,
        "state": state,
        "reason": reason[:200],
    }
    statement = insert(inbox_parked).values(row)
    if state == "retry":
        statement = statement.values(retry_at=_in_seconds(FIRST_RETRY_SECONDS), attempts=1)
    await session.execute(statement.on_conflict_do_nothing())


async def park_undecodable(session: AsyncSession, body: bytes, *, reason: str) -> None:
    """Keep bytes that are no event of ours: dead at once, under a key of their own, so that nothing waits for them."""
    event_id = uuid4()
    row = {"event_id": event_id, "type": "undecodable", "key": str(event_id), "body": body, "state": "dead"}
    await session.execute(insert(inbox_parked).values(**row, reason=reason[:200]))


# A blocked event whose key has nothing parked before it is free: also after the race of an arrival with the last retry.
_PROMOTE = text(
    "UPDATE inbox_parked p SET state = 'retry', retry_at = now() WHERE state = 'blocked' AND NOT EXISTS"
    " (SELECT FROM inbox_parked earlier WHERE earlier.key = p.key AND earlier.position < p.position)"
)
_NEXT = (
    "WITH gone AS (DELETE FROM inbox_parked WHERE position = $1 RETURNING key)"
    " UPDATE inbox_parked SET state = 'retry', retry_at = now() WHERE state = 'blocked' AND position ="
    " (SELECT min(p.position) FROM inbox_parked p JOIN gone USING (key) WHERE p.position <> $1)"
)
_CLAIM = text(
    "UPDATE inbox_parked SET attempts = attempts + 1, retry_at = now() + interval '2 minutes' WHERE position ="
    " (SELECT position FROM inbox_parked WHERE state = 'retry' AND retry_at <= now() ORDER BY position"
    "  LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING position, body, attempts"
)


async def claim_due(database: Database, *, promotes: bool = True) -> tuple[int, bytes, int] | None:
    """Take the next due event for two minutes; return (position, body, attempts) or None.

    `promotes`: look first through everything that is blocked for what is free by now (not before each of thousands).
    """
    async with database.transaction() as session:
        if promotes:
            await session.execute(_PROMOTE)
        row = (await session.execute(_CLAIM)).one_or_none()
        return None if row is None else (row.position, row.body, row.attempts)


async def unpark(session: AsyncSession, position: int) -> None:
    """Delete an event that is handled; the next one of its key is due at once."""
    await fetch(session, _NEXT, position)


async def put_back(database: Database, position: int, *, attempts: int, reason: str) -> None:
    """Schedule the next attempt (5 s, doubling, at most 1 h), or declare the event dead after MAX_ATTEMPTS."""
    values: dict[str, Any] = {"reason": reason[:200]}
    if attempts >= MAX_ATTEMPTS:
        values |= {"state": "dead", "retry_at": None}
    else:
        values["retry_at"] = _in_seconds(min(FIRST_RETRY_SECONDS * 2**attempts, 3600))
    async with database.transaction() as session:
        await session.execute(update(inbox_parked).where(inbox_parked.c.position == position).values(values))


async def list_parked(session: AsyncSession, *, limit: int = 100) -> list[Parked]:
    """Return parked events, oldest first."""
    table = inbox_parked.c
    columns = (
        table.event_id,
        table.type,
        table.key,
        table.state,
        table.reason,
        table.attempts,
        table.parked_at,
        table.retry_at,
    )
    rows = await session.execute(select(*columns).order_by(table.position).limit(limit))
    return [Parked(*row) for row in rows]


async def find_parked_body(session: AsyncSession, event_id: UUID) -> bytes | None:
    """Return a parked event's bytes, or None when it is not parked."""
    found: bytes | None = await session.scalar(select(inbox_parked.c.body).where(inbox_parked.c.event_id == event_id))
    return found


async def retry_parked(session: AsyncSession, event_id: UUID) -> bool:
    """Make a dead or waiting event due now, with all its attempts; False when it is not parked.

    One that is blocked stays so: its turn comes when the event before it is handled or discarded.
    """
    state = case((inbox_parked.c.state == "blocked", "blocked"), else_="retry")
    statement = update(inbox_parked).where(inbox_parked.c.event_id == event_id)
    statement = statement.values(state=state, attempts=0, retry_at=func.now())
    return (await session.execute(statement.returning(inbox_parked.c.event_id))).scalar() is not None


# The inbox remembers it: a late duplicate would otherwise be handled after its successors.
_DISCARD = text(
    "WITH gone AS (DELETE FROM inbox_parked WHERE event_id = :event_id RETURNING event_id, type, key, position),"
    " freed AS (UPDATE inbox_parked SET state = 'retry', retry_at = now() WHERE state = 'blocked' AND position ="
    "  (SELECT min(p.position) FROM inbox_parked p JOIN gone USING (key) WHERE p.position <> gone.position)),"
    " noted AS (INSERT INTO inbox (event_id, type, outcome) SELECT event_id, type, 'discarded' FROM gone"
    "  ON CONFLICT DO NOTHING) SELECT event_id FROM gone"
)


async def discard_parked(session: AsyncSession, event_id: UUID) -> bool:
    """Give an event up for good: its key goes on with the next one. False when it is not parked."""
    return (await session.execute(_DISCARD, {"event_id": event_id})).scalar() is not None


async def count_parked(session: AsyncSession) -> dict[str, int]:
    """Return the number of parked events by state."""
    rows = await session.execute(select(inbox_parked.c.state, func.count()).group_by(inbox_parked.c.state))
    return dict(rows.tuples().all())


def _in_seconds(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
