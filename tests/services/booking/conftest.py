"""A space with a room, its manager Maud, and the members Ada and Ben."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from services.booking.app import create_service
from services.booking.settings import Settings
from shared.db import utc_now
from shared.events.identity import Role
from tests.support.testing import Person, ServiceUnderTest


@dataclass
class Space:
    booking: ServiceUnderTest
    tenant: UUID
    maud: Person
    ada: Person
    ben: Person
    room: dict[str, Any]

    async def furnish(
        self, *, time_zone: str = "Europe/Paris", periods: Any = (), closed_on: Any = (), **policies: Any
    ) -> str:
        """Add a room in a location of its own and return its id; without periods, the location never closes."""
        location = (await self.maud.post("/locations", {"name": "Quai", "time_zone": time_zone})).json()
        week = {"periods": list(periods), "closed_on": list(closed_on)}
        hours = await self.maud.put(f"/locations/{location['id']}/opening-hours", week, etag='"1"')
        assert hours.status_code == 200, hours.text
        body = {"location_id": location["id"], "name": "Atelier", "kind": "room", "hourly_price_minor": 1000}
        room = await self.maud.post("/resources", {**body, **policies})
        assert room.status_code == 201, room.text
        return str(room.json()["id"])

    async def reserve(self, room: str, starts_at: Any, ends_at: Any) -> httpx.Response:
        """Ask for a room as Ada, with instants as they are or as they are written."""
        times = {"starts_at": str(starts_at), "ends_at": str(ends_at)}
        return await self.ada.post("/reservations", {"resource_id": room, **times})

    async def free(self, room: str, day: date) -> list[dict[str, str]]:
        answer = await self.ben.get(f"/resources/{room}/availability", params={"on": day.isoformat()})
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    async def move(self, made: dict[str, Any], starts_at: datetime) -> None:
        """Let a reservation start at another time, with its length and its buffer."""
        statement = (
            "UPDATE reservations SET starts_at = starts_at + :by, ends_at = ends_at + :by,"
            " blocked = tstzrange(lower(blocked) + :by, upper(blocked) + :by) WHERE id = :id"
        )
        by = starts_at - datetime.fromisoformat(made["starts_at"])
        async with self.booking.database.transaction(self.tenant) as session:
            await session.execute(text(statement), {"by": by, "id": made["id"]})

    async def is_somebody_waiting(self) -> bool:
        """Whether a transaction waits for a lock that another one holds."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(await self.booking.rows(waiting))

    def slot(self, hour: int = 10, *, days: int = 7, hours: int = 1, **more: Any) -> dict[str, Any]:
        """A reservation's body on a weekday that is open."""
        starts_at = next_weekday(days) + timedelta(hours=hour)
        times = {"starts_at": starts_at.isoformat(), "ends_at": (starts_at + timedelta(hours=hours)).isoformat()}
        return {"resource_id": self.room["id"], **times, **more}


def next_weekday(days: int) -> datetime:
    day = (utc_now() + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days={5: 2, 6: 1}.get(day.weekday(), 0))


@pytest.fixture(scope="session")
async def booking(start: Any) -> ServiceUnderTest:
    return await start("booking", create_service, Settings)


@pytest.fixture
async def space(booking: ServiceUnderTest) -> AsyncIterator[Space]:
    tenant = await booking.tenant()
    maud = booking.person(tenant, Role.MANAGER)
    location = (await maud.post("/locations", {"name": "Canal", "time_zone": "Europe/Paris"})).json()
    week = [{"weekday": day, "opens": "07:00", "closes": "22:00"} for day in range(5)]
    hours = await maud.put(f"/locations/{location['id']}/opening-hours", {"periods": week}, etag='"1"')
    assert hours.status_code == 200, hours.text
    room = await maud.post(
        "/resources",
        {
            "location_id": location["id"],
            "name": "Loft",
            "kind": "room",
            "hourly_price_minor": 1500,
            "buffer_minutes": 15,
        },
    )
    assert room.status_code == 201, room.text
    return Space(booking, tenant, maud, booking.person(tenant), booking.person(tenant), room.json())
