"""Times: what a slot costs, whether it may be asked for, and which free ones lie nearest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from heapq import merge

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.errors import DurationNotAllowed, OutsideOpeningHours, TooFarAhead, TooLate
from services.booking.models import BLOCKING, Reservation, Resource
from services.booking.opening import OpeningHours, get_opening_hours

NEAREST = 3
SEARCH_BACK_DAYS = 1
SEARCH_AHEAD_DAYS = 7
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A half-open time; both instants are UTC."""

    starts_at: datetime
    ends_at: datetime

    @property
    def minutes(self) -> int:
        return (self.ends_at - self.starts_at) // MINUTE


def price_of(resource: Resource, slot: Slot) -> int:
    """Return the price in minor units, VAT included: the hourly price pro rata, rounded half up.

    The preview and the reservation both call this: what is shown is what is charged.
    """
    return (resource.hourly_price_minor * slot.minutes * 2 + 60) // 120


def blocked_by(resource: Resource, slot: Slot) -> Range[datetime]:
    """Return the half-open time that a reservation of the slot keeps free of others."""
    return Range(slot.starts_at, slot.ends_at + _buffer(resource), bounds="[)")


def check_length(resource: Resource, slot: Slot) -> None:
    """Raises DurationNotAllowed unless the slot is some steps long, within the limits."""
    is_whole = not (slot.ends_at - slot.starts_at) % MINUTE
    if not is_whole or not resource.min_minutes <= slot.minutes <= resource.max_minutes:
        raise DurationNotAllowed(min_minutes=resource.min_minutes, max_minutes=resource.max_minutes)
    if slot.minutes % resource.step_minutes:
        raise DurationNotAllowed(step_minutes=resource.step_minutes)


def check_slot(resource: Resource, hours: OpeningHours, slot: Slot, *, now: datetime) -> None:
    """Raises DurationNotAllowed, TooLate, TooFarAhead or OutsideOpeningHours."""
    check_length(resource, slot)
    if slot.starts_at < now:
        raise TooLate
    if slot.starts_at > _latest_start(resource, now):
        raise TooFarAhead(ahead_days=resource.ahead_days)
    day = hours.day_of(slot.starts_at)
    openings = [opening for opening in hours.on(day) if opening.holds(slot.starts_at, slot.ends_at)]
    if not openings:
        raise OutsideOpeningHours
    if not any(slot.starts_at in opening.starts(_step(resource)) for opening in openings):
        raise DurationNotAllowed(step_minutes=resource.step_minutes)


def slots_on(resource: Resource, hours: OpeningHours, day: date, *, length: timedelta, now: datetime) -> Sequence[Slot]:
    """Return the slots of a length that may be asked for on a local day, in order, taken or not."""
    latest = _latest_start(resource, now)
    found = {
        Slot(at, at + length)
        for opening in hours.on(day)
        for at in opening.starts(_step(resource))
        if now <= at <= latest and at + length <= opening.closes
    }
    return sorted(found)


def shortest_on(resource: Resource, hours: OpeningHours, day: date, *, now: datetime) -> Sequence[Slot]:
    """Return the slots of the shortest length that may be asked for on a local day, in order, taken or not.

    Lengths are whole steps: the shortest is the first of them that reaches the lower limit.
    """
    minutes = -(-resource.min_minutes // resource.step_minutes) * resource.step_minutes
    if minutes > resource.max_minutes:
        return []
    return slots_on(resource, hours, day, length=timedelta(minutes=minutes), now=now)


async def free_on(session: AsyncSession, resource: Resource, day: date, *, now: datetime) -> list[Slot]:
    """Return the slots of the shortest length that can still be reserved on a local day, in order."""
    hours = await get_opening_hours(session, resource.location_id)
    offered = shortest_on(resource, hours, day, now=now)
    if not offered:
        return []
    busy = await _busy(session, resource, offered[0].starts_at, offered[-1].ends_at)
    return [slot for slot in offered if _is_free(resource, busy, slot)]


async def nearest_free(session: AsyncSession, resource: Resource, slot: Slot, *, now: datetime) -> list[Slot]:
    """Return up to NEAREST free slots of the same length, nearest to the wanted start first."""
    hours = await get_opening_hours(session, resource.location_id)
    day = hours.day_of(slot.starts_at)
    first = hours.midnight(day - timedelta(days=SEARCH_BACK_DAYS))
    last = hours.midnight(day + timedelta(days=SEARCH_AHEAD_DAYS + 1))
    busy = await _busy(session, resource, first, last + (slot.ends_at - slot.starts_at))
    found: list[Slot] = []
    for wanted in _outward(resource, hours, slot, now=now):
        if _is_free(resource, busy, wanted):
            found.append(wanted)
        if len(found) == NEAREST:
            break
    return found


def _outward(resource: Resource, hours: OpeningHours, slot: Slot, *, now: datetime) -> Iterator[Slot]:
    """The slots of the same length on the days around, the nearest start first."""
    day, length = hours.day_of(slot.starts_at), slot.ends_at - slot.starts_at

    def on(days: int) -> Sequence[Slot]:
        return slots_on(resource, hours, day + timedelta(days=days), length=length, now=now)

    later = (one for days in range(SEARCH_AHEAD_DAYS + 1) for one in on(days) if one > slot)
    earlier = (one for days in range(SEARCH_BACK_DAYS + 1) for one in reversed(on(-days)) if one < slot)
    return merge(later, earlier, key=lambda one: abs(one.starts_at - slot.starts_at))


def _step(resource: Resource) -> timedelta:
    return timedelta(minutes=resource.step_minutes)


def _buffer(resource: Resource) -> timedelta:
    return timedelta(minutes=resource.buffer_minutes)


def _latest_start(resource: Resource, now: datetime) -> datetime:
    return now + timedelta(days=resource.ahead_days)


async def _busy(
    session: AsyncSession, resource: Resource, starts_at: datetime, ends_at: datetime
) -> Sequence[tuple[int, Range[datetime]]]:
    """Return what is in the way of slots between two instants, the buffer after them included."""
    columns = select(Reservation.unit_no, Reservation.blocked).where(
        Reservation.resource_id == resource.id,
        Reservation.state.in_(BLOCKING),
        Reservation.blocked.op("&&")(Range(starts_at, ends_at + _buffer(resource))),
    )
    return (await session.execute(columns)).tuples().all()


def _is_free(resource: Resource, busy: Sequence[tuple[int, Range[datetime]]], slot: Slot) -> bool:
    wanted = blocked_by(resource, slot)
    taken = {unit for unit, blocked in busy if blocked.overlaps(wanted)}
    return len(taken) < resource.units
