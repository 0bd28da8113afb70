"""Telling people: who wants it on which channel, decided when it happens; and their in-app centre."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notify.errors import KindIsMandatory, NoticeNotFound
from services.notify.kinds import Channel, Kind, Mode, channels_of, rule_of
from services.notify.models import Delivery, DeliveryState, Notice, Preference
from shared.bus import handling
from shared.db import fetch, tenant_of, uuid7, wake_after_commit

BATCH = 1000
# Everything about one event in one statement: who may be told, who wants it on which channel, and their rows.
# The guard of these tables refuses the whole statement for the sake of one row, so whoever is erased is left out here:
# a legal hold keeps their rows. First everybody's lock, the one that the guard takes, then the look: an erasure has
# committed its tombstone by then, or waits for this transaction. Who is asked one by one only if anybody is gone at all.
# An event that is about one person is left to the guard ($13): the inbox notes that it was discarded.
_TELL = """
WITH who AS MATERIALIZED (
    SELECT id, account_id, pg_advisory_xact_lock_shared(subject_lock($1::uuid, account_id))
    FROM unnest($2::uuid[], $3::uuid[]) AS one (id, account_id)
), told AS MATERIALIZED (
    SELECT who.id, who.account_id, known.has_consented FROM who LEFT JOIN recipients AS known USING (account_id)
    WHERE (known.account_id IS NOT NULL OR $8)
        AND NOT ($13 AND (SELECT are_tombstoned($1, array_agg(account_id)) FROM who) AND is_tombstoned($1, account_id))
), off AS MATERIALIZED (
    SELECT account_id, channel FROM preferences
    WHERE account_id = ANY($3) AND kind = $5::text AND mode = 'off' AND NOT $9
), noticed AS (
    INSERT INTO notices (id, tenant_id, account_id, event_id, kind, about)
    SELECT id, $1, account_id, $4::uuid, $5, $6::jsonb FROM told
    WHERE $10 AND NOT EXISTS (SELECT FROM off WHERE off.account_id = told.account_id AND channel = 'in_app')
    ON CONFLICT DO NOTHING
), mailed AS (
    INSERT INTO deliveries (id, tenant_id, account_id, event_id, kind, about, link_id, state, attempts)
    SELECT id, $1, account_id, $4, $5, $6::jsonb, $7::uuid, 'waiting', 0 FROM told
    WHERE $11 AND (has_consented OR NOT $12)
        AND NOT EXISTS (SELECT FROM off WHERE off.account_id = told.account_id AND channel = 'email')
    ON CONFLICT DO NOTHING RETURNING 1
)
SELECT count(*) FROM mailed
"""


async def tell(
    session: AsyncSession,
    accounts: Iterable[UUID | None],
    kind: Kind,
    *,
    about: dict[str, Any],
    link_id: UUID | None = None,
) -> None:
    """Notify accounts of the event being handled, on the channels that each of them wants.

    Set-based, at most once per (event, kind, account, channel) whatever the bus repeats. Accounts that are not
    (or no longer) recipients are left out: nobody is told who may not be, and nobody goes untold because of another.
    """
    wanted = sorted({account for account in accounts if account is not None})
    message, rule = handling.get(), rule_of(kind)
    assert message is not None, "tell() answers an event"
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        ((mails,),) = await fetch(
            session,
            _TELL,
            tenant_of(session),
            [uuid7() for _ in batch],
            batch,
            message.id,
            kind,
            orjson.dumps(about).decode(),
            link_id,
            # A link may go to somebody who has only just registered, before their registration is known here.
            kind is Kind.LINK,
            rule.mandatory,
            rule.in_app,
            rule.email,
            rule.consent,
            len(wanted) > 1,
        )
        if mails:
            wake_after_commit(session, "send_mails")


async def recipients_with(session: AsyncSession, *roles: str) -> list[UUID]:
    """Return the accounts that have one of the roles and are not erased (a legal hold keeps their rows)."""
    query = "SELECT account_id FROM recipients WHERE roles && $1::text[] AND NOT is_tombstoned(tenant_id, account_id)"
    rows = await fetch(session, query, list(roles))
    return [row["account_id"] for row in rows]


async def everybody(session: AsyncSession) -> list[UUID]:
    return [row["account_id"] for row in await fetch(session, "SELECT account_id FROM recipients")]


async def list_notices(
    session: AsyncSession, account_id: UUID, *, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Notice]:
    """Return up to `limit + 1` notices, newest first, after (created_at, id)."""
    mine = select(Notice).where(Notice.account_id == account_id)
    if after is not None:
        mine = mine.where(tuple_(Notice.created_at, Notice.id) < after)
    return (
        (await session.execute(mine.order_by(Notice.created_at.desc(), Notice.id.desc()).limit(limit + 1)))
        .scalars()
        .all()
    )


async def count_notices(session: AsyncSession, account_id: UUID) -> tuple[int, int]:
    """Return (unread, unseen): a badge counts the unseen, a list shows the unread."""
    unread = func.count().filter(Notice.read_at.is_(None))
    unseen = func.count().filter(Notice.seen_at.is_(None))
    row = (await session.execute(select(unread, unseen).where(Notice.account_id == account_id))).one()
    return int(row[0]), int(row[1])


async def mark_seen(session: AsyncSession, account_id: UUID, *, now: datetime) -> None:
    """Seen is not read: the list was opened, its lines were not."""
    await session.execute(
        update(Notice).where(Notice.account_id == account_id, Notice.seen_at.is_(None)).values(seen_at=now)
    )


async def mark_read(session: AsyncSession, account_id: UUID, notice_id: UUID | None, *, now: datetime) -> None:
    """Mark one notice, or all for None. Raises NoticeNotFound."""
    mine = update(Notice).where(Notice.account_id == account_id)
    mine = mine.where(Notice.id == notice_id) if notice_id is not None else mine.where(Notice.read_at.is_(None))
    done = mine.values(read_at=func.coalesce(Notice.read_at, now), seen_at=func.coalesce(Notice.seen_at, now))
    marked = (await session.execute(done.returning(Notice.id))).all()
    if notice_id is not None and not marked:
        raise NoticeNotFound


async def archive_notice(session: AsyncSession, account_id: UUID, notice_id: UUID) -> None:
    """Take a notice out of the centre for good. Raises NoticeNotFound."""
    mine = delete(Notice).where(Notice.account_id == account_id, Notice.id == notice_id).returning(Notice.id)
    if (await session.execute(mine)).scalar() is None:
        raise NoticeNotFound


async def preferences_of(session: AsyncSession, account_id: UUID) -> dict[Kind, dict[Channel, Mode]]:
    """Return the mode of every kind and channel, defaults filled in."""
    rows = await session.execute(select(Preference).where(Preference.account_id == account_id))
    chosen = {(one.kind, one.channel): one.mode for one in rows.scalars()}
    return {
        kind: {channel: chosen.get((kind, channel), Mode.INSTANT) for channel in channels_of(kind)} for kind in Kind
    }


async def set_preference(session: AsyncSession, account_id: UUID, kind: Kind, channel: Channel, mode: Mode) -> None:
    """Choose for one kind and channel. Raises KindIsMandatory for what cannot be switched off."""
    if rule_of(kind).mandatory and mode is Mode.OFF:
        raise KindIsMandatory
    row = {"tenant_id": tenant_of(session), "account_id": account_id, "kind": kind, "channel": channel}
    statement = insert(Preference).values(**row, mode=mode)
    keys = ["account_id", "kind", "channel"]
    await session.execute(statement.on_conflict_do_update(index_elements=keys, set_={"mode": mode}))
    if mode is Mode.OFF and channel is Channel.EMAIL:
        await drop_waiting(session, account_id, [kind])


async def drop_waiting(session: AsyncSession, account_id: UUID, kinds: Iterable[Kind]) -> None:
    """Drop the person's mails of these kinds that have not left: a refusal is effective at once."""
    waiting = update(Delivery).where(Delivery.account_id == account_id, Delivery.kind.in_(list(kinds)))
    waiting = waiting.where(Delivery.state == DeliveryState.WAITING)
    await session.execute(waiting.values(state=DeliveryState.DROPPED))
