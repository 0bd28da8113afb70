"""Where the CPU time of a request goes, by layer, sampled inside the serving process."""

import asyncio
import json
import signal
from collections.abc import Callable, Sequence

from tests.bench.bench_http import READERS, WRITERS, authorization, open_booking, reserving
from tests.bench.costs import cpu_ms
from tests.bench.figures import Figure, bench, hammer
from tests.bench.keepalive import KeepAlive
from tests.bench.lone import LoneService
from tests.bench.stand import Stand

WRITE_SECONDS = 10


@bench("layers")
async def layers(stand: Stand) -> Sequence[Figure]:
    service, rooms = await open_booking(stand)
    client, bearer = KeepAlive(service.url), authorization(service, rooms)
    listing = client.prepare("GET", "/api/booking/v1/reservations", authorization=bearer)
    reserve = reserving(client, rooms.slots(), bearer)
    count = stand.many(2_000, least=100)
    return [
        await _profiled(service, client, "read", count, READERS, lambda: listing, expect=200),
        await _profiled(service, client, "write", count, WRITERS, reserve, expect=201),
    ]


async def _profiled(
    service: LoneService,
    client: KeepAlive,
    name: str,
    count: int,
    clients: int,
    prepare: Callable[[], bytes],
    *,
    expect: int,
) -> Figure:
    await hammer(clients * 2, clients, lambda _: client.send(prepare(), expect=expect))
    service.profile.unlink(missing_ok=True)
    service.signal(signal.SIGUSR1)
    before = cpu_ms(service.pid)
    await hammer(count, clients, lambda _: client.send(prepare(), expect=expect))
    spent = (cpu_ms(service.pid) - before) / count
    service.signal(signal.SIGUSR2)
    counts = await _written(service)
    total = sum(counts.values())
    shares = {layer: spent * samples / total for layer, samples in counts.items()}
    return Figure(f"layers, {name}", spent, "ms of CPU", layers=shares, notes={"samples": total})


async def _written(service: LoneService) -> dict[str, int]:
    for _ in range(WRITE_SECONDS * 20):
        if service.profile.exists():
            found: dict[str, int] = json.loads(service.profile.read_text())
            return found
        await asyncio.sleep(0.05)
    raise RuntimeError("the profile was not written")
