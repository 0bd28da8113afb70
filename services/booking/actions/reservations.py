"""The verbs of a reservation: reserve, decide, cancel, complete, expire."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from sqlalchemy import ColumnElement, Update, func, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.actions.slots import Slot, blocked_by, check_slot, nearest_free, price_of
from services.booking.errors import (
    AlreadyDecided,
    NotCancellable,
    RequesterGone,
    RequestExpired,
    ReservationNotFound,
    ResourceNotFound,
    SlotTaken,
)
from services.booking.models import UPCOMING, Reservation, Resource, State
from services.booking.opening import OpeningHours
from shared.auth import Caller
from shared.bus import publish, publish_all
from shared.db import fetch, tenant_of, uuid7
from shared.events.booking import CancelReason, ReservationCancelled, ReservationConfirmed, ReservationRequested
from shared.http import check_match

# Lock the resource, not its reservations: two new reservations share no row to collide on.
_LOCK = (
    "SELECT r.id, r.tenant_id, r.location_id, r.units, r.hourly_price_minor, r.currency, r.vat_rate_bp, r.buffer_minutes,"
    " r.min_minutes, r.max_minutes, r.step_minutes, r.ahead_days, r.free_cancellation_hours, r.needs_approval, l.time_zone,"
    " ARRAY(SELECT weekday FROM opening_periods p WHERE p.location_id = l.id ORDER BY opens, p.id) AS weekdays,"
    " ARRAY(SELECT opens FROM opening_periods p WHERE p.location_id = l.id ORDER BY opens, p.id) AS opens,"
    " ARRAY(SELECT closes FROM opening_periods p WHERE p.location_id = l.id ORDER BY opens, p.id) AS closes,"
    " ARRAY(SELECT c.on FROM closures c WHERE c.location_id = l.id) AS closed_on"
    " FROM resources r JOIN locations l ON l.id = r.location_id WHERE r.id = $1 FOR UPDATE OF r"
)
# Its snapshot is younger than the lock: whoever held it before has committed, and the first free unit is free.
_TAKE_FREE_UNIT = (
    "INSERT INTO reservations (id, tenant_id, resource_id, account_id, starts_at, ends_at, blocked, state, note,"
    " price_minor, currency, vat_rate_bp, order_id, free_until, refund_minor, version, unit_no)"
    " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 1, u FROM generate_series(1, $15) u"
    " WHERE NOT EXISTS (SELECT FROM reservations r WHERE r.resource_id = $3 AND r.unit_no = u"
    " AND r.state IN ('requested', 'confirmed') AND r.blocked && $7) ORDER BY u LIMIT 1 RETURNING unit_no, created_at"
)


async def reserve(
    session: AsyncSession, caller: Caller, *, resource_id: UUID, slot: Slot, note: str | None, now: datetime
) -> Reservation:
    """Reserve a unit of a resource at the price and on the terms of this moment; confirmed unless it needs approval.

    Raises SlotTaken with the nearest free slots, or what `check_slot` raises.
    """
    resource, hours = await _lock(session, resource_id)
    check_slot(resource, hours, slot, now=now)
    reservation = Reservation(
        id=uuid7(),
        tenant_id=tenant_of(session),
        resource_id=resource_id,
        account_id=caller.account_id,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
        state=State.REQUESTED if resource.needs_approval else State.CONFIRMED,
        note=note,
        price_minor=price_of(resource, slot),
        currency=resource.currency,
        vat_rate_bp=resource.vat_rate_bp,
        order_id=uuid7(),
        free_until=slot.starts_at - timedelta(hours=resource.free_cancellation_hours),
        refund_minor=0,
        version=1,
    )
    if not await _take_free_unit(session, reservation, resource, slot):
        free = await nearest_free(session, resource, slot, now=now)
        raise SlotTaken(
            nearest=[{"starts_at": s.starts_at.isoformat(), "ends_at": s.ends_at.isoformat()} for s in free]
        )
    await _announce(session, reservation)
    return reservation


async def _lock(session: AsyncSession, resource_id: UUID) -> tuple[Resource, OpeningHours]:
    rows = await fetch(session, _LOCK, resource_id)
    if not rows:
        raise ResourceNotFound
    row = dict(rows[0])
    periods = zip(row.pop("weekdays"), row.pop("opens"), row.pop("closes"), strict=True)
    hours = OpeningHours(ZoneInfo(row.pop("time_zone")), list(periods), frozenset(row.pop("closed_on")))
    return Resource(**row), hours


async def _take_free_unit(session: AsyncSession, new: Reservation, resource: Resource, slot: Slot) -> bool:
    """Write `new` on the first unit that is free, or tell that none is."""
    blocked = blocked_by(resource, slot)
    rows = await fetch(
        session,
        _TAKE_FREE_UNIT,
        new.id,
        new.tenant_id,
        new.resource_id,
        new.account_id,
        new.starts_at,
        new.ends_at,
        asyncpg.Range(blocked.lower, blocked.upper),
        new.state,
        new.note,
        new.price_minor,
        new.currency,
        new.vat_rate_bp,
        new.order_id,
        new.free_until,
        resource.units,
    )
    for row in rows:
        new.blocked, new.unit_no, new.created_at = blocked, row["unit_no"], row["created_at"]
    return bool(rows)


async def _announce(session: AsyncSession, reservation: Reservation) -> None:
    assert reservation.account_id is not None
    common = {
        "tenant_id": reservation.tenant_id,
        "reservation_id": reservation.id,
        "resource_id": reservation.resource_id,
        "account_id": reservation.account_id,
        "starts_at": reservation.starts_at,
        "ends_at": reservation.ends_at,
    }
    if reservation.state is State.REQUESTED:
        await publish(session, ReservationRequested(**common), version=reservation.version)
        return
    assert reservation.order_id is not None
    price = {
        "order_id": reservation.order_id,
        "price_minor": reservation.price_minor,
        "currency": reservation.currency,
        "vat_rate_bp": reservation.vat_rate_bp,
    }
    await publish(session, ReservationConfirmed(**common, **price), version=reservation.version)


async def get_reservation(
    session: AsyncSession, caller: Caller, reservation_id: UUID, *, lock: bool = False
) -> Reservation:
    """Return the caller's own reservation, or anybody's for staff. Raises ReservationNotFound.

    With `lock`, its version and state stay until the transaction ends.
    """
    reservation = await session.get(Reservation, reservation_id, with_for_update=lock or None)
    if reservation is None or not (caller.is_staff or reservation.account_id == caller.account_id):
        raise ReservationNotFound
    return reservation


async def list_reservations(
    session: AsyncSession,
    columns: str,
    *,
    account_id: UUID | None,
    resource_id: UUID | None,
    since: datetime | None,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[Any]:
    """Return `columns` of up to `limit + 1` reservations by start, after a keyset position (starts_at, id)."""
    filters = (("account_id =", account_id), ("resource_id =", resource_id), ("ends_at >=", since))
    chosen = [(test, value) for test, value in filters if value is not None]
    conditions = ["true", *(f"{test} ${place}" for place, (test, _) in enumerate(chosen, 2))]
    values = [value for _, value in chosen]
    if after is not None:
        conditions.append(f"(starts_at, id) > (${len(values) + 2}, ${len(values) + 3})")
        values += after
    chosen_rows = f"SELECT {columns} FROM reservations WHERE {' AND '.join(conditions)}"  # noqa: S608 (no value in it)
    return await fetch(session, f"{chosen_rows} ORDER BY starts_at, id LIMIT $1", limit + 1, *values)


async def decide(
    session: AsyncSession, caller: Caller, reservation_id: UUID, *, approve: bool, if_match: str | None, now: datetime
) -> Reservation:
    """Confirm or deny a request.

    Raises AlreadyDecided when somebody was faster, RequestExpired when it would be confirmed after its start, and
    RequesterGone when nobody is left to confirm it to.
    """
    reservation = await get_reservation(session, caller, reservation_id, lock=True)
    check_match(if_match, reservation.version)
    if reservation.cancelled_for is CancelReason.HOLD_EXPIRED:
        raise RequestExpired
    if reservation.state is not State.REQUESTED:
        raise AlreadyDecided
    if approve and reservation.starts_at <= now:
        raise RequestExpired
    if approve and reservation.account_id is None:
        raise RequesterGone
    reservation.state = State.CONFIRMED if approve else State.DENIED
    reservation.decided_by = caller.account_id
    reservation.version += 1
    await session.flush()
    if approve:
        await _announce(session, reservation)
    else:
        await publish_cancelled(session, [reservation], CancelReason.DENIED)
    return reservation


async def cancel(
    session: AsyncSession, caller: Caller, reservation_id: UUID, *, if_match: str | None, now: datetime
) -> Reservation:
    """Cancel a reservation: free of charge on the terms it was made on, or when staff cancels. Raises NotCancellable."""
    reservation = await get_reservation(session, caller, reservation_id, lock=True)
    check_match(if_match, reservation.version)
    if reservation.state not in UPCOMING or reservation.ends_at <= now:
        raise NotCancellable
    is_own = reservation.account_id == caller.account_id
    reservation.refund_minor = reservation.price_minor if now <= reservation.free_until or not is_own else 0
    reservation.state = State.CANCELLED
    reservation.cancelled_for = CancelReason.MEMBER if is_own else CancelReason.MANAGER
    reservation.version += 1
    await session.flush()
    await publish_cancelled(session, [reservation], reservation.cancelled_for)
    return reservation


async def cancel_upcoming(
    session: AsyncSession, accounts: Sequence[UUID], *, reason: CancelReason, now: datetime
) -> Sequence[Reservation]:
    """Cancel what these accounts have not begun to use, with full refund; return it."""
    theirs = _cancel_unused(reason, now=now).where(Reservation.account_id.in_(accounts))
    return (await session.execute(theirs.returning(Reservation))).scalars().all()


async def cancel_all_upcoming(
    session: AsyncSession, spared: Sequence[UUID], *, reason: CancelReason, now: datetime
) -> None:
    """Cancel what nobody but `spared` accounts has begun to use, with full refund."""
    await session.execute(_cancel_unused(reason, now=now).where(Reservation.account_id.not_in(spared)))


def _cancel_unused(reason: CancelReason, *, now: datetime) -> Update:
    # A request is never used before its approval, however late it is.
    is_unused = (Reservation.state == State.REQUESTED) | (Reservation.starts_at > now)
    return _cancel(reason, Reservation.state.in_(UPCOMING), is_unused)


def _cancel(reason: CancelReason, *which: ColumnElement[bool]) -> Update:
    """Cancel reservations with full refund, which bills nothing for a request: it has no order yet."""
    cancelled = update(Reservation).where(*which)
    return cancelled.values(
        state=State.CANCELLED,
        cancelled_for=reason,
        refund_minor=Reservation.price_minor,
        version=Reservation.version + 1,
    ).execution_options(synchronize_session=False)


async def publish_cancelled(session: AsyncSession, cancelled: Sequence[Reservation], reason: CancelReason) -> None:
    """Tell billing and notify about cancelled reservations."""
    events = [
        (
            ReservationCancelled(
                tenant_id=one.tenant_id,
                reservation_id=one.id,
                account_id=one.account_id,
                order_id=one.order_id,
                starts_at=one.starts_at,
                reason=reason,
                refund_minor=one.refund_minor,
                currency=one.currency,
            ),
            one.version,
        )
        for one in cancelled
        if one.order_id is not None
    ]
    await publish_all(session, list(events))


async def complete_past(session: AsyncSession, *, now: datetime) -> int:
    """Mark confirmed reservations that are over, with the buffer after them, as completed; return how many."""
    over = update(Reservation).where(Reservation.state == State.CONFIRMED, func.upper(Reservation.blocked) <= now)
    done = over.values(state=State.COMPLETED, version=Reservation.version + 1).returning(Reservation.id)
    return len((await session.execute(done)).all())


async def expire_requests(session: AsyncSession, *, now: datetime) -> int:
    """Cancel requests that nobody has decided before their start, and tell who asked; return how many."""
    reason = CancelReason.HOLD_EXPIRED
    late = _cancel(reason, Reservation.state == State.REQUESTED, Reservation.starts_at <= now)
    expired = (await session.execute(late.returning(Reservation))).scalars().all()
    await publish_cancelled(session, expired, reason)
    return len(expired)
