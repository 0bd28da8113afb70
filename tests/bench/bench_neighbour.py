"""What a tenant feels while another one is erased: latency of its feed at a modest fixed rate, before and during."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from uuid import UUID

from shared.events import SERVICES
from tests.bench.bench_receipts import quiet
from tests.bench.figures import Figure, Rounds, Sample, at_least, bench
from tests.bench.keepalive import KeepAlive
from tests.bench.people import settle
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand

ACCOUNTS = 10_000
READS_PER_SECOND = 40
SECONDS_BEFORE = 10
WAIT_SECONDS = 240
POSTS = 25
ANSWERED = "SELECT count(*) FROM answers WHERE case_id = $1 AND outcome IS NOT NULL"


class Reader:
    """Reads a page of the feed at fixed instants; what comes late because the one before was slow counts as late."""

    def __init__(self, space: Space) -> None:
        self._http = KeepAlive(space.suite.base_url("feed"))
        bearer = f"Bearer {space.admin.token}"
        self._page = self._http.prepare("GET", "/api/feed/v1/posts?limit=20", authorization=bearer)

    async def until(self, stopping: asyncio.Event) -> Rounds:
        began, number, reads = time.perf_counter(), 0, set[asyncio.Task[float]]()
        while not stopping.is_set():
            due = began + number / READS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            reads.add(asyncio.create_task(self._read(due)))
            number += 1
        latencies = tuple(await asyncio.gather(*reads))
        rounds = Rounds()
        rounds.samples = [Sample(number, time.perf_counter() - began, latencies)]
        return rounds

    async def _read(self, due: float) -> float:
        await self._http.send(self._page, expect=200)
        return (time.perf_counter() - due) * 1000

    def close(self) -> None:
        self._http.close()


@bench("neighbour")
async def neighbour(stand: Stand) -> Sequence[Figure]:
    suite = await stand.suite()
    reading, leaving = await open_space(suite, members=0), await open_space(suite, members=0)
    for number in range(POSTS):
        body = {"body": f"Who joins for lunch on day {number}?"}
        await reading.client.call("POST", "/feed/v1/posts", body, by=reading.admin)
    accounts = stand.many(ACCOUNTS, least=200)
    await settle(leaving, accounts)
    await quiet(suite)
    reader = Reader(reading)
    await _during(reader, asyncio.sleep(1))
    before = await _during(reader, asyncio.sleep(max(2.0, SECONDS_BEFORE * stand.scale)))
    during = await _during(reader, _erase(leaving))
    reader.close()
    return [_figure(before, during, accounts)]


async def _during(reader: Reader, work: Awaitable[None]) -> Rounds:
    stopping = asyncio.Event()
    reads = asyncio.create_task(reader.until(stopping))
    try:
        await work
    finally:
        stopping.set()
    return await reads


async def _erase(space: Space) -> None:
    """End the tenant as its administrator does, and wait for the last receipt."""
    answer = await space.client.call(
        "PUT", "/identity/v1/tenant/deactivation", {"confirmation": space.client.slug}, by=space.admin
    )
    receipts = await space.suite.superuser("privacy")
    async with asyncio.timeout(WAIT_SECONDS):
        while await receipts.fetchval(ANSWERED, UUID(answer["case_id"])) < len(SERVICES):
            await asyncio.sleep(0.1)
    await receipts.close()


def _figure(before: Rounds, during: Rounds, accounts: int) -> Figure:
    quietly, disturbed = before.percentile_ms(95), during.percentile_ms(95)
    assert quietly is not None
    assert disturbed is not None
    (erased,) = during.samples
    return Figure(
        "neighbour of an erased tenant, p95",
        disturbed,
        "ms",
        limit=quietly,
        ratio=quietly / disturbed,
        goals=(at_least("ratio", 0.83),),
        p50_ms=during.percentile_ms(50),
        p99_ms=during.percentile_ms(99),
        record="0026",
        notes={"accounts": float(accounts), "erasure_seconds": erased.seconds, "reads": float(erased.count)},
    )
