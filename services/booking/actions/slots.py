"""Times: what a slot costs, whether it may be asked for, and which free ones lie nearest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.errors import DurationNotAllowed, OutsideOpeningHours, TooFarAhead, TooLate
from services.booking.models import BLOCKING, Reservation, Resource
from services.booking.opening import OpeningHours, get_opening_hours

NEAREST = 3
SEARCH_BACK = timedelta(days=1)
SEARCH_AHEAD = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Slot:
    starts_at: datetime
    ends_at: datetime

    @property
    def minutes(self) -> int:
        return int((self.ends_at - self.starts_at).total_seconds() // 60)


def price_of(resource: Resource, slot: Slot) -> int:
    """Return the price in minor units, VAT included: the hourly price pro rata, rounded half up.

    The preview and the reservation both call this: what is shown is what is charged.
    """
    return (resource.hourly_price_minor * slot.minutes * 2 + 60) // 120


def blocked_by(resource: Resource, slot: Slot) -> Range[datetime]:
    """Return the half-open time that a reservation of the slot keeps free of others."""
    buffer = timedelta(minutes=resource.buffer_minutes)
    return Range(slot.starts_at, slot.ends_at + buffer, bounds="[)")


def check_slot(resource: Resource, hours: OpeningHours, slot: Slot, *, now: datetime) -> None:
    """Raises DurationNotAllowed, TooLate, TooFarAhead or OutsideOpeningHours."""
    is_whole = slot.minutes * 60 == (slot.ends_at - slot.starts_at).total_seconds()
    if not is_whole or not resource.min_minutes <= slot.minutes <= resource.max_minutes:
        raise DurationNotAllowed(min_minutes=resource.min_minutes, max_minutes=resource.max_minutes)
    if slot.minutes % resource.step_minutes or slot.starts_at.minute % min(resource.step_minutes, 60):
        raise DurationNotAllowed(step_minutes=resource.step_minutes)
    if slot.starts_at < now:
        raise TooLate
    if slot.starts_at > now + timedelta(days=resource.ahead_days):
        raise TooFarAhead(ahead_days=resource.ahead_days)
    if not hours.is_open(slot.starts_at, slot.ends_at):
        raise OutsideOpeningHours


async def nearest_free(session: AsyncSession, resource: Resource, slot: Slot, *, now: datetime) -> list[Slot]:
    """Return up to NEAREST free slots of the same length, nearest to the wanted start first."""
    hours = await get_opening_hours(session, resource.location_id)
    busy = await _busy(session, resource, slot.starts_at - SEARCH_BACK, slot.ends_at + SEARCH_AHEAD)
    step = timedelta(minutes=resource.step_minutes)
    found = []
    for offset in _outward(SEARCH_AHEAD // step):
        starts_at = slot.starts_at + offset * step
        wanted = Slot(starts_at, starts_at + (slot.ends_at - slot.starts_at))
        if starts_at < now or starts_at < slot.starts_at - SEARCH_BACK or not hours.is_open(starts_at, wanted.ends_at):
            continue
        if _is_free(resource, busy, wanted):
            found.append(wanted)
        if len(found) == NEAREST:
            break
    return found


async def free_on(session: AsyncSession, resource: Resource, day: date, *, now: datetime) -> list[Slot]:
    """Return the slots of the shortest length that can still be reserved on a local day, in order."""
    hours = await get_opening_hours(session, resource.location_id)
    openings = list(hours.on(day))
    if not openings:
        return []
    busy = await _busy(session, resource, openings[0][0], openings[-1][1])
    step, length = timedelta(minutes=resource.step_minutes), timedelta(minutes=resource.min_minutes)
    found = []
    for opens, closes in openings:
        starts_at = opens
        while starts_at + length <= closes and starts_at.astimezone(hours.zone).date() == day:
            slot = Slot(starts_at, starts_at + length)
            if starts_at >= now and _is_free(resource, busy, slot):
                found.append(slot)
            starts_at += step
    return found


def _outward(limit: int) -> Iterator[int]:
    """1, -1, 2, -2, … up to `limit` on both sides."""
    for distance in range(1, limit + 1):
        yield distance
        yield -distance


async def _busy(
    session: AsyncSession, resource: Resource, starts_at: datetime, ends_at: datetime
) -> Sequence[tuple[int, Range[datetime]]]:
    columns = select(Reservation.unit_no, Reservation.blocked).where(
        Reservation.resource_id == resource.id,
        Reservation.state.in_(BLOCKING),
        Reservation.blocked.op("&&")(Range(starts_at, ends_at)),
    )
    return (await session.execute(columns)).tuples().all()


def _is_free(resource: Resource, busy: Sequence[tuple[int, Range[datetime]]], slot: Slot) -> bool:
    wanted = blocked_by(resource, slot)
    taken = {unit for unit, blocked in busy if blocked.overlaps(wanted)}
    return len(taken) < resource.units
