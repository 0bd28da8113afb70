"""How cost grows with the data: page, directory search and tenant erasure at 1×, 10× and 100× in the same run.

The services' own code runs in this process as the application role, under row security. One tenant owns all rows: the
worst case, for its id then leads nowhere in an index.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from services.feed.actions.mentions import mentions_in
from services.feed.actions.posts import count_around, list_posts
from services.identity.actions.directory import search_members
from shared.db import Database, uuid7
from tests.bench.bench_erasure import erase, fill
from tests.bench.crowd import crowd
from tests.bench.figures import Figure, Round, alternating, at_least, bench, hammer, timed
from tests.bench.population import SERVICES
from tests.bench.stand import Stand

FULL = 1_000_000
LEAST_ROWS = 100
MULTIPLES = (1, 10, 100)
PAGE = 20
ACCENTS = str.maketrans("aei", "áéî")

Once = Callable[[], Awaitable[None]]


class Place:
    """A service's database with this many rows of one tenant, and the application's own way into it."""

    def __init__(self, url: str, rows: int) -> None:
        self.database = Database(url, pool_size=1)
        self.name = url.rsplit("/", 1)[1]
        self.tenant_id = uuid7()
        self.rows = rows

    async def superuser(self, stand: Stand) -> asyncpg.Connection:
        return await asyncpg.connect(stand.postgres.admin_url, database=self.name)


@bench("growth")
async def growth(stand: Stand) -> Sequence[Figure]:
    feeds, directories = await _places(stand, "feed"), await _places(stand, "identity")
    names = [await _names(stand, place) for place in directories]
    wrong = [[_misspelt(name) for name in some] for some in names]
    calls = stand.many(100, least=20)
    figures = [
        await _grown("growth, feed page", calls, [_first_page(place) for place in feeds]),
        await _grown("growth, feed page in the middle", calls, [_middle_page(place) for place in feeds]),
        await _grown("growth, directory", calls, [_search(place, [None]) for place in directories]),
        await _grown(
            "growth, directory search", calls, [_search(p, some) for p, some in zip(directories, names, strict=True)]
        ),
        await _grown(
            "growth, misspelt search",
            calls // 5,
            [_search(p, some) for p, some in zip(directories, wrong, strict=True)],
        ),
    ]
    for place in (*feeds, *directories):
        await place.database.close()
    return [*figures, await _erasure(stand)]


async def _places(stand: Stand, service: str) -> list[Place]:
    largest = stand.many(FULL, least=LEAST_ROWS * MULTIPLES[-1])
    places = []
    for multiple in MULTIPLES:
        place = Place((await stand.databases.clone(service)).app, largest * multiple // MULTIPLES[-1])
        superuser = await place.superuser(stand)
        await crowd(superuser, service, place.tenant_id, rows=place.rows)
        await superuser.close()
        places.append(place)
    return places


async def _names(stand: Stand, place: Place) -> list[str]:
    """Return family names of members, written with other accents and case than the directory's."""
    superuser = await place.superuser(stand)
    drawn = await superuser.fetch("SELECT last_name FROM profiles ORDER BY md5(account_id::text) LIMIT 50")
    await superuser.close()
    return [row["last_name"].translate(ACCENTS).upper() for row in drawn]


def _misspelt(name: str) -> str:
    """Return a name with its letter before the last one doubled."""
    return name[:-1] + name[-2:]


def _first_page(place: Place) -> Once:
    return lambda: _page(place, None)


def _middle_page(place: Place) -> Once:
    middle = datetime.now(UTC) - timedelta(minutes=place.rows // 2)
    return lambda: _page(place, (middle, UUID(int=0)))


async def _page(place: Place, after: tuple[datetime, UUID] | None) -> None:
    async with place.database.transaction(place.tenant_id) as session:
        posts = await list_posts(session, pinned=False, after=after, limit=PAGE)
        ids = [post.id for post in posts[:PAGE]]
        counts, mentioned = await count_around(session, ids), await mentions_in(session, ids)
    assert len(ids) == len(counts) == len(mentioned) == PAGE


def _search(place: Place, queries: Sequence[str | None]) -> Once:
    async def once() -> None:
        query = random.choice(queries)
        async with place.database.transaction(place.tenant_id) as session:
            found = await search_members(session, query=query, skill=None, department=None, limit=PAGE + 1, after=None)
        assert found, query

    return once


async def _grown(name: str, calls: int, works: Sequence[Once]) -> Figure:
    sides = await alternating(*(_repeated(calls, work) for work in works))
    return _figure(name, "/s", [side.rate for side in sides], bound=0.66, p50_ms=sides[-1].percentile_ms(50))


def _repeated(calls: int, work: Once) -> Round:
    return lambda: hammer(calls, 1, lambda _: work())


async def _erasure(stand: Stand) -> Figure:
    """Accounts erased per second, in the services with the most rows; each size is a tenant of its own."""
    rates = []
    largest = stand.many(10_000, least=1000)
    for multiple in MULTIPLES:
        accounts, tenant_id = largest * multiple // MULTIPLES[-1], uuid7()
        urls = {service: (await stand.databases.clone(service)).app for service in SERVICES}
        for service, url in urls.items():
            await fill(stand, url.rsplit("/", 1)[1], service, tenant_id, accounts)

        async def everywhere(urls: dict[str, str] = urls, tenant_id: UUID = tenant_id) -> None:
            await asyncio.gather(*(erase(service, url, tenant_id) for service, url in urls.items()))

        rates.append((await timed(accounts, everywhere)).rate)
    return _figure("growth, tenant erasure", "accounts/s", rates, bound=0.8)


def _figure(name: str, unit: str, rates: Sequence[float], *, bound: float, p50_ms: float | None = None) -> Figure:
    least, *_, most = rates
    return Figure(
        name,
        most,
        unit,
        limit=least,
        ratio=most / least,
        goals=(at_least("ratio", bound),),
        p50_ms=p50_ms,
        record="0024",
        series=tuple((float(multiple), rate, least) for multiple, rate in zip(MULTIPLES, rates, strict=True)),
    )
