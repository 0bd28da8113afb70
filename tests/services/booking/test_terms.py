"""What a reservation keeps from its making, its buffer after its end, and that two who change it at once are told."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from services.booking.actions import places, reservations
from shared.auth import Caller
from shared.db import utc_now, uuid7
from shared.events.booking import ReservationCancelled
from shared.events.identity import Role
from shared.migrate import differences, upgrade
from tests.support.testing import SQLALCHEMY_SCHEME, Person, wait_for

MINUTE = timedelta(minutes=1)
BACK = """
DROP TRIGGER freeze_terms ON reservations;
DROP FUNCTION freeze_terms;
ALTER TABLE reservations DROP COLUMN free_until;
UPDATE alembic_version SET version_num = '20261124_create_booking' WHERE version_num = '20261130_freeze_terms';
"""
PLACES = """
INSERT INTO locations (id, tenant_id, name, address, time_zone, version)
VALUES (gen_random_uuid(), gen_random_uuid(), 'Canal', '', 'Europe/Paris', 1);
INSERT INTO resources (id, tenant_id, location_id, name, kind, capacity, units, hourly_price_minor, currency, vat_rate_bp,
 buffer_minutes, min_minutes, max_minutes, step_minutes, ahead_days, free_cancellation_hours, needs_approval, version)
SELECT gen_random_uuid(), tenant_id, id, 'Loft', 'room', 1, 1, 0, 'EUR', 0, 0, 30, 480, 30, 365, hours, false, 1
FROM locations, unnest(ARRAY[0, 48]) hours;
"""
RESERVED = """
INSERT INTO reservations (id, tenant_id, resource_id, unit_no, starts_at, ends_at, blocked, state, price_minor, currency,
 vat_rate_bp, refund_minor, version)
SELECT gen_random_uuid(), tenant_id, id, 1, at, at + '1 hour', tstzrange(at, at + '1 hour'), 'confirmed', 0, 'EUR', 0, 0, 1
FROM resources, LATERAL (SELECT now() + $1::interval AS at) slot
"""


def caller(person: Person) -> Caller:
    now = utc_now()
    return Caller(person.tenant_id, person.account_id, uuid7(), frozenset({Role.MEMBER}), now, False, now)


async def test_the_buffer_after_a_reservation_keeps_others_out_until_it_is_over(space: Any) -> None:
    room = await space.furnish(buffer_minutes=15, step_minutes=5, min_minutes=30)
    next_step = datetime.fromtimestamp((utc_now().timestamp() // 300 + 2) * 300, UTC)
    made = (await space.reserve(room, next_step + 60 * MINUTE, next_step + 90 * MINUTE)).json()
    url = f"/reservations/{made['id']}"
    await space.move(made, utc_now() - 31 * MINUTE)
    await space.booking.run_job("complete_past_reservations")
    assert (await space.ada.get(url)).json()["state"] == "confirmed"
    assert (await space.reserve(room, next_step, next_step + 30 * MINUTE)).status_code == 409
    await space.move((await space.ada.get(url)).json(), utc_now() - 46 * MINUTE)
    await space.booking.run_job("complete_past_reservations")
    assert (await space.ada.get(url)).json()["state"] == "completed"
    assert (await space.reserve(room, next_step, next_step + 30 * MINUTE)).status_code == 201


async def test_a_reservation_is_cancelled_on_the_terms_it_was_made_on(space: Any) -> None:
    url = f"/resources/{space.room['id']}"
    made = await space.ada.post("/reservations", space.slot())
    starts_at, free_until = (datetime.fromisoformat(made.json()[name]) for name in ("starts_at", "free_until"))
    assert starts_at - free_until == timedelta(hours=24)
    assert (await space.maud.patch(url, {"free_cancellation_hours": 720}, etag='"1"')).status_code == 200
    (listed,) = (await space.ada.get("/reservations")).json()["data"]
    assert listed["free_until"] == made.json()["free_until"]
    cancelled = await space.ada.put(f"/reservations/{made.json()['id']}/cancellation", etag='"1"')
    assert cancelled.json()["refund_minor"] == 1500
    strict = await space.ada.post("/reservations", space.slot())
    assert (await space.maud.patch(url, {"free_cancellation_hours": 0}, etag='"2"')).status_code == 200
    late = await space.ada.put(f"/reservations/{strict.json()['id']}/cancellation", etag='"1"')
    assert late.json()["refund_minor"] == 0


async def test_reservations_of_the_version_before_get_the_terms_of_their_resource(databases: Any) -> None:
    owner_url = (await databases.clone("booking")).owner
    owner = await asyncpg.connect(owner_url.replace(SQLALCHEMY_SCHEME, "postgresql://"))
    try:
        await owner.execute(BACK + PLACES)
        await owner.execute(RESERVED, timedelta(days=9))
        await upgrade("booking", owner_url)
        await owner.execute(RESERVED, timedelta(days=12))
        rows = await owner.fetch("SELECT starts_at - free_until AS before FROM reservations ORDER BY starts_at, before")
        assert [row["before"] for row in rows] == [timedelta(0), timedelta(hours=48)] * 2
        assert await differences("booking", owner_url) == []
    finally:
        await owner.close()


async def test_of_two_cancellations_of_one_version_one_is_refused(space: Any) -> None:
    made = (await space.ada.post("/reservations", space.slot())).json()
    late = datetime.fromisoformat(made["starts_at"]) - timedelta(hours=1)
    async with space.booking.database.transaction(space.tenant) as session:
        await reservations.cancel(session, caller(space.ada), made["id"], if_match='"1"', now=late)
        url = f"/reservations/{made['id']}/cancellation"
        second = asyncio.create_task(space.maud.put(url, etag='"1"'))
        await wait_for(space.is_somebody_waiting, what="the second cancellation behind the first")
    assert (await second).status_code == 412
    (event,) = await space.booking.published(ReservationCancelled, space.tenant)
    assert event.refund_minor == (await space.ada.get(f"/reservations/{made['id']}")).json()["refund_minor"] == 0


async def test_of_two_weeks_set_on_one_version_one_is_refused(space: Any) -> None:
    location_id = space.room["location_id"]
    day = utc_now().date()
    async with space.booking.database.transaction(space.tenant) as session:
        await places.replace_opening_hours(session, location_id, periods=[], closed_on=[day], if_match='"2"')
        week = {"periods": [{"weekday": 0, "opens": "10:00", "closes": "12:00"}], "closed_on": [day.isoformat()]}
        second = asyncio.create_task(space.maud.put(f"/locations/{location_id}/opening-hours", week, etag='"2"'))
        await wait_for(space.is_somebody_waiting, what="the second week behind the first")
    assert (await second).status_code == 412
    assert await space.booking.rows("SELECT 1 FROM opening_periods", space.tenant) == []


async def test_of_two_changes_of_one_version_of_a_room_one_is_refused(space: Any) -> None:
    room = space.room["id"]
    async with space.booking.database.transaction(space.tenant) as session:
        await places.change_resource(session, room, changes={"hourly_price_minor": 900}, if_match='"1"')
        second = asyncio.create_task(space.maud.patch(f"/resources/{room}", {"hourly_price_minor": 1}, etag='"1"'))
        await wait_for(space.is_somebody_waiting, what="the second change behind the first")
    assert (await second).status_code == 412
    assert (await space.ada.get(f"/resources/{room}")).json()["hourly_price_minor"] == 900
