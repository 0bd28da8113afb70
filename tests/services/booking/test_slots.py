"""Which slots are offered, and that exactly those are accepted: over zones, steps, openings and clock changes."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.booking.actions.slots import Slot, check_slot, price_of, shortest_on
from services.booking.models import Resource
from services.booking.opening import OpeningHours
from services.booking.schemas import HIGHEST_PRICE, LONGEST_MINUTES
from shared.db import utc_now
from shared.problems import Problem

PARIS = ZoneInfo("Europe/Paris")
# Half-hour and quarter-hour offsets; changes of half an hour, at midnight, and just before it.
ZONES = [
    *("UTC", "Europe/Paris", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"),
    *("Australia/Lord_Howe", "Africa/Cairo", "America/Havana", "America/Nuuk", "America/Santiago"),
]
EVERY_DAY = range(7)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def changes(zone: ZoneInfo, first: date) -> list[date]:
    """The local days of the next year that are longer or shorter than others."""
    days = [first + timedelta(days=number) for number in range(366)]
    return [day for day in days if _midnight(day + DAY, zone) - _midnight(day, zone) != DAY]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def week(opens: str, closes: str) -> list[dict[str, Any]]:
    return [{"weekday": day, "opens": opens, "closes": closes} for day in EVERY_DAY]


@st.composite
def places(draw: Any) -> tuple[Resource, OpeningHours, date, datetime]:
    """A resource, its opening hours, a day (often one of a clock change) and a present around it."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    days = st.dates(date(2027, 1, 1), date(2027, 12, 31))
    day = draw(days | st.sampled_from(changes(zone, date(2027, 1, 1)) or [date(2027, 3, 28)]))
    minutes = st.lists(st.integers(0, 1439), min_size=2, max_size=2, unique=True).map(sorted)
    clock = [(time(a // 60, a % 60), time(b // 60, b % 60)) for a, b in draw(st.lists(minutes, max_size=2))]
    closed_on = draw(st.sets(st.sampled_from([day, day + DAY, day + 2 * DAY]), max_size=1))
    shortest = draw(st.sampled_from([5, 30, 45, 60, 1440]))
    resource = Resource(
        step_minutes=draw(st.sampled_from([15, 30, 45, 60, 90, 1440])),
        min_minutes=shortest,
        max_minutes=shortest + draw(st.sampled_from([0, 30, 2880])),
        ahead_days=draw(st.integers(1, 3)),
    )
    hours = OpeningHours(zone, [(day.weekday(), *one) for one in clock], frozenset(closed_on))
    return resource, hours, day, _midnight(day, zone) + timedelta(minutes=draw(st.integers(-4000, 1500)))


def is_accepted(resource: Resource, hours: OpeningHours, slot: Slot, now: datetime) -> bool:
    try:
        check_slot(resource, hours, slot, now=now)
    except Problem:
        return False
    return True


OPENS_AT_A_QUARTER = (
    Resource(step_minutes=30, min_minutes=45, max_minutes=480, ahead_days=1),
    OpeningHours(PARIS, [(6, time(0, 15), time(9))], frozenset()),
    date(2027, 3, 28),
    _midnight(date(2027, 3, 28), PARIS),
)


@given(places())
@example(OPENS_AT_A_QUARTER)
@settings(max_examples=60, deadline=None)
def test_what_is_offered_is_what_is_accepted(place: tuple[Resource, OpeningHours, date, datetime]) -> None:
    resource, hours, day, now = place
    offered = shortest_on(resource, hours, day, now=now)
    lengths = range(resource.min_minutes, resource.max_minutes + 1)
    length = next((minutes * MINUTE for minutes in lengths if minutes % resource.step_minutes == 0), None)
    if length is None:
        assert offered == []
        return
    begins, ends = _midnight(day, hours.zone), _midnight(day + DAY, hours.zone)
    every_minute = [begins + number * MINUTE for number in range((ends - begins) // MINUTE)]
    wanted = [Slot(at, at + length) for at in every_minute]
    assert offered == [slot for slot in wanted if is_accepted(resource, hours, slot, now)]
    late = timedelta(seconds=30)
    assert not any(is_accepted(resource, hours, Slot(s.starts_at + late, s.ends_at + late), now) for s in offered)


@pytest.mark.parametrize("room", [{"step_minutes": 45}, {"step_minutes": 90, "min_minutes": 45}, {"min_minutes": 45}])
async def test_whatever_is_offered_can_be_reserved(space: Any, room: dict[str, int]) -> None:
    atelier = await space.furnish(periods=week("08:15", "20:00"), **room)
    day = (utc_now() + 3 * DAY).date()
    offered = await space.free(atelier, day)
    assert offered[0]["starts_at"] == datetime.combine(day, time(8, 15), PARIS).astimezone(UTC).isoformat()[:19] + "Z"
    taken_until = ""
    for slot in offered:
        if slot["starts_at"] < taken_until:
            continue
        taken_until = slot["ends_at"]
        made = await space.reserve(atelier, slot["starts_at"], slot["ends_at"])
        assert made.status_code == 201, made.text
    assert await space.free(atelier, day) == []


async def test_a_slot_is_the_same_in_every_offset(space: Any) -> None:
    room = await space.furnish(time_zone="Asia/Kolkata", periods=week("09:00", "18:00"), step_minutes=60)
    day = (utc_now() + 3 * DAY).date()
    made = await space.reserve(room, f"{day}T09:00:00+05:30", f"{day}T10:00:00+05:30")
    assert (made.status_code, made.json()["starts_at"]) == (201, f"{day}T03:30:00Z")
    same = await space.reserve(room, f"{day}T03:30:00Z", f"{day}T04:30:00Z")
    assert (same.status_code, same.json()["code"]) == (409, "slot_taken")
    crooked = await space.reserve(room, f"{day}T09:30:00+05:30", f"{day}T10:30:00+05:30")
    assert (crooked.status_code, crooked.json()["code"]) == (422, "duration_not_allowed")


async def test_seconds_are_refused(space: Any) -> None:
    room = await space.furnish()
    day = (utc_now() + 3 * DAY).date()
    refused = await space.reserve(room, f"{day}T09:00:30Z", f"{day}T09:30:30Z")
    assert (refused.status_code, refused.json()["code"]) == (422, "duration_not_allowed")
    location = (await space.maud.post("/locations", {"name": "Port", "time_zone": "Europe/Paris"})).json()
    url = f"/locations/{location['id']}/opening-hours"
    assert (await space.maud.put(url, {"periods": week("08:00:30", "20:00")}, etag='"1"')).status_code == 422
    assert (await space.maud.put(url, {"periods": week("08:00", "23:59:59")}, etag='"1"')).status_code == 200


async def test_the_days_of_a_clock_change_have_the_hours_they_have(space: Any) -> None:
    room = await space.furnish(min_minutes=60, step_minutes=60)
    found = {}
    for day in changes(PARIS, (utc_now() + 2 * DAY).date()):
        starts = [datetime.fromisoformat(slot["starts_at"]) for slot in await space.free(room, day)]
        assert [later - one for one, later in pairwise(starts)] == [HOUR] * (len(starts) - 1)
        found[day.month] = len(starts)
        made = [await space.reserve(room, at, at + HOUR) for at in starts[:4]]
        assert [answer.status_code for answer in made] == [201] * 4
    assert found == {3: 23, 10: 25}


async def test_nothing_is_offered_beyond_what_can_be_reserved_ahead(space: Any) -> None:
    room = await space.furnish(ahead_days=5)
    today = utc_now().astimezone(PARIS).date()
    assert len(await space.free(room, today + 4 * DAY)) == 48
    assert 0 < len(await space.free(room, today + 5 * DAY)) < 48
    assert await space.free(room, today + 6 * DAY) == []


async def test_a_closed_day_inside_a_reservation_is_closed(space: Any) -> None:
    closed = (utc_now() + 10 * DAY).date()
    room = await space.furnish(time_zone="UTC", closed_on=[closed.isoformat()], max_minutes=3 * 1440)
    over = await space.reserve(room, f"{closed - DAY}T12:00:00Z", f"{closed + DAY}T12:00:00Z")
    assert (over.status_code, over.json()["code"]) == (422, "outside_opening_hours")
    until = await space.reserve(room, f"{closed - DAY}T12:00:00Z", f"{closed}T00:00:00Z")
    assert until.status_code == 201, until.text
    after = await space.reserve(room, f"{closed + DAY}T00:00:00Z", f"{closed + 2 * DAY}T12:00:00Z")
    assert after.status_code == 201, after.text


async def test_a_place_that_never_closes_can_be_had_for_a_month_from_any_hour(space: Any) -> None:
    room = await space.furnish(time_zone="UTC", max_minutes=31 * 1440)
    starts_at = datetime.combine((utc_now() + DAY).date(), time(8), UTC)
    made = await space.reserve(room, starts_at, starts_at + 31 * DAY)
    assert made.status_code == 201, made.text


async def test_the_preview_refuses_the_lengths_that_a_reservation_cannot_have(space: Any) -> None:
    room = await space.furnish()
    day = (utc_now() + 3 * DAY).date()
    for ends_at in (f"{day}T09:45:00Z", f"{day}T09:30:30Z"):
        params = {"starts_at": f"{day}T09:00:00Z", "ends_at": ends_at}
        refused = await space.ada.get(f"/resources/{room}/price", params=params)
        assert (refused.status_code, refused.json()["code"]) == (422, "duration_not_allowed")


async def test_limits_that_no_length_meets_are_refused(space: Any) -> None:
    room = {"location_id": space.room["location_id"], "name": "Nook", "kind": "room", "hourly_price_minor": 0}
    never = {"min_minutes": 45, "max_minutes": 50, "step_minutes": 30}
    assert (await space.maud.post("/resources", {**room, **never})).status_code == 422


async def test_the_ends_of_the_calendar_are_refused_not_failed(space: Any) -> None:
    room = space.room["id"]
    first, last = "0001-01-01T00:00:00+14:00", "9999-12-31T23:30:00-12:00"
    answers = [
        *[await space.ada.get(f"/resources/{room}/availability", params={"on": day[:10]}) for day in (first, last)],
        *[await space.ada.get("/reservations", params={"since": at}) for at in (first, last)],
        await space.ada.get(f"/resources/{room}/price", params={"starts_at": first, "ends_at": last}),
        await space.reserve(room, first, last),
    ]
    assert [answer.status_code for answer in answers] == [422] * len(answers)
    url = f"/locations/{space.room['location_id']}/opening-hours"
    zoned = await space.maud.put(url, {"periods": week("08:00Z", "20:00")}, etag='"2"')
    assert zoned.status_code == 422


def test_the_dearest_reservation_fits_its_column() -> None:
    start = datetime(2026, 12, 1, tzinfo=UTC)
    dearest = Resource(hourly_price_minor=HIGHEST_PRICE)
    assert price_of(dearest, Slot(start, start + LONGEST_MINUTES * MINUTE)) < 2**31
