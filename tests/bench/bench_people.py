"""A person of twenty rows erased over HTTP on the running suite: from the answer to the last of seven receipts.

Everything between is counted: the last mail, which is sent and settled first, relays, seven consumers, the receipts and
privacy's bookkeeping.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import asyncpg

from shared.events import SERVICES
from tests.bench.bench_receipts import quiet
from tests.bench.costs import Meter
from tests.bench.figures import Figure, Rounds, Sample, at_least, at_most, bench
from tests.bench.keepalive import KeepAlive
from tests.bench.people import rows_of, settle
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand

LOOK_SECONDS = 0.002
WAIT_SECONDS = 120
AT_ONCE = 50
ANSWERED = "SELECT count(*) FROM answers WHERE case_id = ANY($1) AND outcome IS NOT NULL"


class Erasures:
    """Deactivates accounts as their administrator does, and looks for the receipts in privacy's table."""

    def __init__(self, space: Space, receipts: asyncpg.Connection) -> None:
        self._http = KeepAlive(space.suite.base_url("identity"))
        self._bearer = f"Bearer {space.admin.token}"
        self._receipts = receipts
        self.looks = 0

    async def one(self, account_id: UUID) -> Sample:
        """Erase an account; measured from the answer of its deactivation."""
        case_id = await self._deactivate(account_id)
        began = time.perf_counter()
        await self._answered([case_id])
        seconds = time.perf_counter() - began
        return Sample(1, seconds, (seconds * 1000,))

    async def many(self, people: Sequence[UUID]) -> Sample:
        """Erase accounts at once; measured from the first request."""
        began = time.perf_counter()
        cases = await asyncio.gather(*(self._deactivate(account_id) for account_id in people))
        await self._answered(cases)
        return Sample(len(people), time.perf_counter() - began)

    async def _deactivate(self, account_id: UUID) -> UUID:
        path = f"/api/identity/v1/accounts/{account_id}/deactivation"
        headers = {"authorization": self._bearer, "idempotency_key": uuid4().hex}
        answer = await self._http.send(self._http.prepare("PUT", path, {"content": "remove"}, **headers), expect=202)
        return UUID(answer.json()["case_id"])

    async def _answered(self, cases: Sequence[UUID]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                self.looks += 1
                if await self._receipts.fetchval(ANSWERED, cases) == len(SERVICES) * len(cases):
                    return
                await asyncio.sleep(LOOK_SECONDS * min(10, len(cases)))

    async def close(self) -> None:
        self._http.close()
        await self._receipts.close()


@bench("erase-one-person")
async def erase_one_person(stand: Stand) -> Sequence[Figure]:
    suite = await stand.suite()
    space = await open_space(suite, members=0)
    single, together = stand.many(20, least=3), stand.many(AT_ONCE, least=10)
    _, people = await settle(space, single + 1 + 3 * together)
    erasures = Erasures(space, await suite.superuser("privacy"))
    await quiet(suite)
    # The first of all is a warm-up: seven workers plan their erasure statements.
    await erasures.one(people[0])
    alone, crowds = Rounds(), Rounds()
    for account_id in people[1 : single + 1]:
        alone.samples.append(await erasures.one(account_id))
        await asyncio.sleep(0.1)
    meter, looks = await Meter.of(suite), erasures.looks
    for first in range(single + 1, len(people), together):
        crowds.samples.append(await erasures.many(people[first : first + together]))
    cost = (await meter.spent()).notes(3 * together)
    cost["statements"] -= (erasures.looks - looks) / (3 * together)
    await erasures.close()
    assert await rows_of(space, people) == 0
    return [_alone(alone), _together(crowds, cost), await _memory(stand)]


def _alone(rounds: Rounds) -> Figure:
    p50 = rounds.percentile_ms(50)
    assert p50 is not None
    goals = (at_most("p50_ms", 100),)
    p99 = rounds.percentile_ms(99)
    return Figure("erase one person", p50 / 1000, "s", goals=goals, p50_ms=p50, p99_ms=p99, record="0026")


def _together(rounds: Rounds, cost: dict[str, float]) -> Figure:
    goals = (at_least("value", 100),)
    return Figure("erase one person, 50 at once", rounds.rate, "/s", goals=goals, record="0026", notes=cost)


async def _memory(stand: Stand) -> Figure:
    """The embedded suite in a process of its own, after one person was erased in it."""
    folder = stand.folder / "embedded"
    folder.mkdir(mode=0o755)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.embedded", str(folder), stdout=-1)
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the embedded suite ended with {process.returncode}")
    memory = json.loads(printed.splitlines()[-1])["bytes"] / 1e6
    goals = (at_most("rss_mb", 400),)
    return Figure("erase one person, memory", memory, "MB", goals=goals, rss_mb=memory, record="0026")
