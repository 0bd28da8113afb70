"""A space with a room, its manager Maud, and the members Ada and Ben."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

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
