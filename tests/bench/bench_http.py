"""The request path of one API process: a read and a write over HTTP against the same work without us."""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from shared.db import uuid7
from tests.bench.figures import Figure, Sample, at_least, bench, hammer, interleaved
from tests.bench.keepalive import KeepAlive
from tests.bench.lone import LoneService, Process
from tests.bench.raw_reservation import RawReservations
from tests.bench.rooms import Rooms, furnish
from tests.bench.stand import Stand

PAGE = 20
READERS = 16
WRITERS = 8


async def open_booking(stand: Stand) -> tuple[LoneService, Rooms]:
    """Start booking's API over a furnished database of its own."""
    service = await LoneService.start(stand, "booking")
    connection = await asyncpg.connect(_plain(service.urls.owner))
    try:
        rooms = await furnish(connection, reservations=PAGE, others=stand.many(5_000))
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return service, rooms


def _plain(url: str) -> str:
    return url.replace("+asyncpg", "")


def authorization(service: LoneService, rooms: Rooms) -> str:
    return f"Bearer {service.mint.mint(rooms.member_id, rooms.tenant_id)}"


@bench("read")
async def read(stand: Stand) -> Sequence[Figure]:
    service, rooms = await open_booking(stand)
    bare = Process("tests.bench.bare", str(rooms.tenant_id), environment={"DATABASE_URL": _plain(service.urls.app)})
    await bare.ready()
    stand.closing(bare.stop)
    count = stand.many(2_500)
    ours, limit = KeepAlive(service.url), KeepAlive(bare.url)
    wanted = ours.prepare("GET", "/api/booking/v1/reservations", authorization=authorization(service, rooms))
    same = limit.prepare("GET", f"/reservations?account_id={rooms.member_id}")
    sizes = [len((await client.send(one, expect=200)).body) for client, one in ((ours, wanted), (limit, same))]

    async def ask_us() -> Sample:
        return await hammer(count, READERS, lambda _: ours.send(wanted, expect=200))

    async def ask_bare() -> Sample:
        return await hammer(count, READERS, lambda _: limit.send(same, expect=200))

    us, raw = await interleaved(ask_us, ask_bare)
    figure = Figure(
        "read, list of 20",
        us.rate,
        "requests/s",
        limit=raw.rate,
        ratio=us.rate / raw.rate,
        goals=(at_least("ratio", 0.5),),
        p50_ms=us.percentile_ms(50),
        p99_ms=us.percentile_ms(99),
        record="0019",
        notes={"bytes": sizes[0], "bytes raw": sizes[1]},
    )
    return [figure]


@bench("write")
async def write(stand: Stand) -> Sequence[Figure]:
    service, rooms = await open_booking(stand)
    count = stand.many(1_000)
    client = KeepAlive(service.url)
    slots = rooms.slots()
    reserve = reserving(client, slots, authorization(service, rooms))
    async with RawReservations.connected(_plain(service.urls.app), rooms, connections=WRITERS) as raw_side:

        async def ask_us() -> Sample:
            return await hammer(count, WRITERS, lambda _: client.send(reserve(), expect=201))

        async def write_raw() -> Sample:
            return await hammer(count, WRITERS, lambda _: raw_side.reserve(*next(slots)))

        us, raw = await interleaved(ask_us, write_raw)
    figure = Figure(
        "write, reserve",
        us.rate,
        "requests/s",
        limit=raw.rate,
        ratio=us.rate / raw.rate,
        goals=(at_least("ratio", 0.3),),
        p50_ms=us.percentile_ms(50),
        p99_ms=us.percentile_ms(99),
        record="0019",
        notes={"p50_ms raw": raw.percentile_ms(50) or 0.0},
    )
    return [figure]


def reserving(client: KeepAlive, slots: Any, authorization: str) -> Callable[[], bytes]:
    """Return what makes the next reservation's request: another slot, another Idempotency-Key."""

    def prepare() -> bytes:
        resource, starts_at, ends_at = next(slots)
        body = {
            "resource_id": str(resource),
            "starts_at": starts_at.isoformat(),
            "ends_at": ends_at.isoformat(),
            "note": "needs a projector",
        }
        path = "/api/booking/v1/reservations"
        return client.prepare("POST", path, body, authorization=authorization, idempotency_key=uuid7().hex)

    return prepare
