"""Opening hours: when a location is open, in its own local time, and where in it slots may start."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.models import Closure, Location, OpeningPeriod

NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Opening:
    """A time without interruption, in UTC. Slots start in it before `starts_until` and end by `closes`."""

    opens: datetime
    starts_until: datetime
    closes: datetime

    def holds(self, starts_at: datetime, ends_at: datetime) -> bool:
        return self.opens <= starts_at < self.starts_until and ends_at <= self.closes

    def starts(self, step: timedelta) -> Iterator[datetime]:
        """Yield where a slot may start, in order: what is offered and what is accepted both ask here.

        The steps are elapsed time, so that a clock change neither invents an hour nor hides one.
        """
        at = self.opens
        while at < self.starts_until:
            yield at
            at += step


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """A location's week and closed days. Without any period it closes on its closed days only."""

    zone: ZoneInfo
    periods: Sequence[tuple[int, time, time]]
    closed_on: frozenset[date]

    def day_of(self, at: datetime) -> date:
        """Return the local day of an instant."""
        return at.astimezone(self.zone).date()

    def midnight(self, day: date) -> datetime:
        """Return the instant at which a local day begins."""
        return self._instant(day, time())

    def on(self, day: date) -> Iterator[Opening]:
        """Yield the openings in which something may start on a local day."""
        if day in self.closed_on:
            return
        # What opens today closes today, even where a clock change skips the hour before midnight.
        day_ends = self.midnight(day + timedelta(days=1))
        if not self.periods:
            closed = min((one for one in self.closed_on if one > day), default=None)
            yield Opening(self.midnight(day), day_ends, NEVER if closed is None else self.midnight(closed))
        for weekday, opens, closes in self.periods:
            if weekday == day.weekday():
                closes_at = min(self._instant(day, closes), day_ends)
                yield Opening(self._instant(day, opens), closes_at, closes_at)

    def _instant(self, day: date, local: time) -> datetime:
        """A time that the clock skips counts with the offset before it, a repeated one is the first (RFC 5545, 3.3.5)."""
        return datetime.combine(day, local, self.zone).astimezone(UTC)


async def get_opening_hours(session: AsyncSession, location_id: UUID) -> OpeningHours:
    """Return a location's opening hours with two statements."""
    columns = select(Location.time_zone, OpeningPeriod.weekday, OpeningPeriod.opens, OpeningPeriod.closes)
    joined = columns.join(OpeningPeriod, OpeningPeriod.location_id == Location.id, isouter=True)
    rows = (await session.execute(joined.where(Location.id == location_id).order_by(OpeningPeriod.opens))).all()
    closed = await session.execute(select(Closure.on).where(Closure.location_id == location_id))
    periods = [(row.weekday, row.opens, row.closes) for row in rows if row.weekday is not None]
    return OpeningHours(ZoneInfo(rows[0].time_zone), periods, frozenset(closed.scalars()))
