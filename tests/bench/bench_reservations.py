"""Reserving on the running suite, as the peers were measured: distinct slots, and rivals for one slot.

Rooms are free, for the peer takes no payment; what an order with its invoice costs is a figure of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from deploy.demo.client import Client, Member
from shared.db import utc_now, uuid7
from tests.bench.costs import Meter, memory_mb
from tests.bench.figures import ROUNDS, Figure, Rounds, at_least, at_most, bench, hammer
from tests.bench.keepalive import KeepAlive
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand

ROOMS = 32
RESERVATIONS = "/api/booking/v1/reservations"
CLIENTS = ((1, 200), (8, 400))


@bench("reservations")
async def reservations(stand: Stand) -> Sequence[Figure]:
    space = await open_space(await stand.suite(), members=8)
    client = KeepAlive(space.suite.base_url("booking"))
    prepare = _reserving(client, space.members, slots(await open_rooms(space.client, space.admin, ROOMS)))
    return [await _distinct(stand, space, client, prepare, clients, goal) for clients, goal in CLIENTS]


async def _distinct(
    stand: Stand, space: Space, client: KeepAlive, prepare: Callable[[], bytes], clients: int, goal: int
) -> Figure:
    count, rounds = stand.many(400), Rounds()
    await hammer(clients * 4, clients, lambda _: client.send(prepare(), expect=201))
    meter = await Meter.of(space.suite)
    for _ in range(ROUNDS):
        rounds.samples.append(await hammer(count, clients, lambda _: client.send(prepare(), expect=201)))
    cost = await meter.spent()
    return Figure(
        f"reservations of distinct slots, {clients} client{'s' if clients > 1 else ''}",
        rounds.rate,
        "requests/s",
        goals=(at_least("value", goal),),
        p50_ms=rounds.percentile_ms(50),
        p99_ms=rounds.percentile_ms(99),
        rss_mb=memory_mb(space.suite.pids("booking")),
        record="0019",
        notes=cost.notes(count * ROUNDS),
    )


@bench("rivals")
async def rivals(stand: Stand) -> Sequence[Figure]:
    """Everybody wants the same slot at the same time: one gets it, the others are told so."""
    space = await open_space(await stand.suite(), members=8)
    client = KeepAlive(space.suite.base_url("booking"))
    wanted = slots(await open_rooms(space.client, space.admin, 1))
    return [await _rivals(space, client, next(wanted), stand.many(crowd)) for crowd in (150, 200)]


async def _rivals(space: Space, client: KeepAlive, slot: tuple[str, datetime], crowd: int) -> Figure:
    prepare = _reserving(client, space.members, iter([slot] * crowd))
    meter = await Meter.of(space.suite)
    answers = await asyncio.gather(*(client.send(prepare()) for _ in range(crowd)))
    cost = await meter.spent()
    statuses = Counter(answer.status for answer in answers)
    room, starts_at = slot
    stored = await space.suite.query(
        "booking",
        "SELECT count(*) FROM reservations WHERE resource_id = $1::uuid AND starts_at = $2 AND state = 'confirmed'",
        room,
        starts_at,
    )
    if stored[0][0] != statuses[201] or statuses[201] + statuses[409] != crowd:
        raise AssertionError(f"{crowd} rivals were answered {dict(statuses)}, {stored[0][0]} reservations are stored")
    name = f"rivals for one slot, {crowd}: accepted"
    only_one = (at_least("value", 1), at_most("value", 1))
    return Figure(name, statuses[201], "reservations", goals=only_one, notes=cost.notes(crowd))


async def open_rooms(client: Client, admin: Member, count: int) -> list[str]:
    """Add rooms that never close; return their ids."""
    place = {"name": "Canal", "address": "", "time_zone": "UTC"}
    location = await client.call("POST", "/booking/v1/locations", place, by=admin)
    room = {"location_id": location["id"], "kind": "room", "hourly_price_minor": 0}
    added = [
        await client.call("POST", "/booking/v1/resources", {**room, "name": f"Room {n}"}, by=admin)
        for n in range(count)
    ]
    return [one["id"] for one in added]


def slots(rooms: Sequence[str]) -> Iterator[tuple[str, datetime]]:
    """Yield each free hour of the next year once, room by room, so that neighbours in time share no lock."""
    midnight = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    for hour in range(24, 24 * 360):
        for room in rooms:
            yield room, midnight + timedelta(hours=hour)


def _reserving(
    client: KeepAlive, members: Sequence[Member], wanted: Iterator[tuple[str, datetime]]
) -> Callable[[], bytes]:
    """Return what makes the next request: another slot, another member in turn, another Idempotency-Key."""
    turn = 0

    def prepare() -> bytes:
        nonlocal turn
        turn += 1
        (room, starts_at), member = next(wanted), members[turn % len(members)]
        body: dict[str, Any] = {
            "resource_id": room,
            "starts_at": starts_at.isoformat(),
            "ends_at": (starts_at + timedelta(hours=1)).isoformat(),
            "note": "needs a projector",
        }
        token = f"Bearer {member.token}"
        return client.prepare("POST", RESERVATIONS, body, authorization=token, idempotency_key=uuid7().hex)

    return prepare
