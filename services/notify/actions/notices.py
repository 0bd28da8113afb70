"""Telling people: who wants it on which channel, decided when it happens; and their in-app centre."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notify.errors import KindIsMandatory, NoticeNotFound
from services.notify.kinds import Channel, Kind, Mode, channels_of, rule_of
from services.notify.models import Delivery, DeliveryState, Notice, Preference, Recipient
from shared.bus import handling
from shared.db import tenant_of, uuid7, wake_after_commit

BATCH = 1000


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
    (or no longer) recipients are left out: nobody is told who may not be.
    """
    wanted = sorted({account for account in accounts if account is not None})
    message = handling.get()
    assert message is not None, "tell() answers an event"
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        known = await _recipients(session, batch, kind)
        common = {"tenant_id": tenant_of(session), "event_id": message.id, "kind": kind, "about": about}
        for channel in channels_of(kind):
            off = await _switched_off(session, batch, kind, channel)
            told = [account for account, consents in known.items() if account not in off]
            if channel is Channel.EMAIL and rule_of(kind).consent:
                told = [account for account in told if known[account]]
            await _write(session, channel, told, common, link_id)


async def _recipients(session: AsyncSession, accounts: Sequence[UUID], kind: Kind) -> dict[UUID, bool]:
    if kind is Kind.LINK:
        # A link may go to somebody who has only just registered, before their registration is known here.
        return dict.fromkeys(accounts, False)
    rows = select(Recipient.account_id, Recipient.has_consented).where(Recipient.account_id.in_(accounts))
    return dict((await session.execute(rows)).tuples().all())


async def _switched_off(session: AsyncSession, accounts: Sequence[UUID], kind: Kind, channel: Channel) -> set[UUID]:
    if rule_of(kind).mandatory:
        return set()
    off = select(Preference.account_id).where(
        Preference.account_id.in_(accounts),
        Preference.kind == kind,
        Preference.channel == channel,
        Preference.mode == Mode.OFF,
    )
    return set((await session.execute(off)).scalars())


async def _write(
    session: AsyncSession, channel: Channel, accounts: Sequence[UUID], common: dict[str, Any], link_id: UUID | None
) -> None:
    if not accounts:
        return
    rows: list[dict[str, Any]] = [{**common, "id": uuid7(), "account_id": account} for account in accounts]
    if channel is Channel.IN_APP:
        await session.execute(insert(Notice).on_conflict_do_nothing(), rows)
        return
    state = {"link_id": link_id, "state": DeliveryState.WAITING, "attempts": 0}
    await session.execute(insert(Delivery).on_conflict_do_nothing(), [{**row, **state} for row in rows])
    wake_after_commit(session, "send_mails")


async def recipients_with(session: AsyncSession, *roles: str) -> Sequence[UUID]:
    """Return the accounts that have one of the roles."""
    statement = select(Recipient.account_id).where(Recipient.roles.overlap(list(roles)))
    return (await session.execute(statement)).scalars().all()


async def everybody(session: AsyncSession) -> Sequence[UUID]:
    return (await session.execute(select(Recipient.account_id))).scalars().all()


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
        # Effective at once, also for what is waiting to be sent.
        waiting = update(Delivery).where(
            Delivery.account_id == account_id, Delivery.kind == kind, Delivery.state == DeliveryState.WAITING
        )
        await session.execute(waiting.values(state=DeliveryState.DROPPED))
