"""Opening hours: when a location is open, in its own local time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.models import Closure, Location, OpeningPeriod


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """A location's week and closed days. Without any period it never closes."""

    zone: ZoneInfo
    periods: Sequence[tuple[int, time, time]]
    closed_on: frozenset[date]

    def is_open(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether the whole time lies in one opening."""
        first_day = starts_at.astimezone(self.zone).date()
        return any(opens <= starts_at and ends_at <= closes for opens, closes in self.on(first_day))

    def on(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """Yield the day's openings as instants; local times follow the clock changes."""
        if day in self.closed_on:
            return
        if not self.periods:
            midnight = datetime.combine(day, time(), self.zone)
            yield midnight, midnight + timedelta(days=31)
        for weekday, opens, closes in self.periods:
            if weekday == day.weekday():
                yield datetime.combine(day, opens, self.zone), datetime.combine(day, closes, self.zone)


async def get_opening_hours(session: AsyncSession, location_id: UUID) -> OpeningHours:
    """Return a location's opening hours with two statements."""
    columns = select(Location.time_zone, OpeningPeriod.weekday, OpeningPeriod.opens, OpeningPeriod.closes)
    joined = columns.join(OpeningPeriod, OpeningPeriod.location_id == Location.id, isouter=True)
    rows = (await session.execute(joined.where(Location.id == location_id).order_by(OpeningPeriod.opens))).all()
    closed = await session.execute(select(Closure.on).where(Closure.location_id == location_id))
    periods = [(row.weekday, row.opens, row.closes) for row in rows if row.weekday is not None]
    return OpeningHours(ZoneInfo(rows[0].time_zone), periods, frozenset(closed.scalars()))
