"""Writing: an event is a row of the business transaction, so it exists exactly when its cause does."""

from contextvars import ContextVar
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import MAX_EVENT_BYTES, Envelope, Event
from shared.bus.crash import crash
from shared.bus.wake import RELAY
from shared.db import fetch, utc_now, uuid7, wake_after_commit
from shared.telemetry import current_traceparent

# The message being handled, so that what a handler publishes names its cause.
handling: ContextVar[Envelope | None] = ContextVar("handling", default=None)

# Positions rise in the order of the rows, and each row of the log gets its pointer. The epoch is the column's default:
# a restore raises it there, so that it travels with the schema.
_WRITE = (
    "WITH logged AS (INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, traceparent,"
    " causation_id, correlation_id, subject_ids) SELECT event_id, tenant_id, type, key, version, time, data,"
    " traceparent, causation_id, correlation_id, subject_ids FROM ROWS FROM (jsonb_to_recordset($1) AS"
    " (event_id uuid, tenant_id uuid, type text, key text, version bigint, time timestamptz, data jsonb,"
    " traceparent text, causation_id uuid, correlation_id uuid, subject_ids uuid[])) WITH ORDINALITY"
    " AS event (event_id, tenant_id, type, key, version, time, data, traceparent, causation_id, correlation_id,"
    " subject_ids, place) ORDER BY place RETURNING position, key)"
    " INSERT INTO outbox (position, key) SELECT position, key FROM logged"
)


class EventTooLarge(ValueError):
    """An event exceeds 256 KiB: it carries content that belongs behind an id."""


async def publish(session: AsyncSession, event: Event, *, version: int = 1) -> UUID:
    """Write `event` to the log and the outbox of this transaction; return its id (uuid7).

    `version` is the aggregate's version after the change: events of one key are delivered in the order of their
    commits, and copies of state use it to ignore older news. Raises EventTooLarge above 256 KiB.
    """
    envelopes = await publish_all(session, [(event, version)])
    return envelopes[0]


async def publish_all(session: AsyncSession, events: list[tuple[Event, int]]) -> list[UUID]:
    """Write several `(event, version)` pairs in order, with one statement; return their ids."""
    if not events:
        return []
    cause = handling.get()
    rows: list[dict[str, Any]] = []
    for event, version in events:
        envelope = Envelope(
            id=uuid7(),
            type=event.type,
            tenant_id=event.tenant_id,
            key=event.key,
            version=version,
            epoch=0,
            time=utc_now(),
            data=event.model_dump(mode="json"),
            traceparent=current_traceparent(),
            causation_id=cause.id if cause else None,
            correlation_id=(cause.correlation_id or cause.id) if cause else None,
        )
        if len(envelope.encode()) > MAX_EVENT_BYTES:
            raise EventTooLarge(event.type)
        rows.append(_log_row(envelope, event))
    # One statement writes log and outbox, so both names are the same place.
    crash("publish.before_log")
    crash("publish.before_outbox")
    await fetch(session, _WRITE, orjson.dumps(rows, default=str).decode())
    crash("publish.before_commit")
    wake_after_commit(session, RELAY)
    return [row["event_id"] for row in rows]


def _log_row(envelope: Envelope, event: Event) -> dict[str, Any]:
    return {
        "event_id": envelope.id,
        "tenant_id": envelope.tenant_id,
        "type": envelope.type,
        "key": envelope.key,
        "version": envelope.version,
        "time": envelope.time,
        "data": envelope.data,
        "traceparent": envelope.traceparent,
        "causation_id": envelope.causation_id,
        "correlation_id": envelope.correlation_id,
        "subject_ids": sorted(set(event.subject_ids())),
    }
