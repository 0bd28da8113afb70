"""A person's copy over HTTP on the running suite: asked for, collected from seven services, ready to be fetched."""

import asyncio
import io
import time
import zipfile
from collections.abc import Sequence

from deploy.demo.client import Member
from tests.bench.costs import Meter, memory_mb
from tests.bench.figures import Figure, Rounds, Sample, at_most, bench
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand

TICKET = {"subject": "Badge", "body": "Mon badge n'ouvre plus la porte.", "category": "access"}


@bench("exports")
async def measure_exports(stand: Stand) -> Sequence[Figure]:
    suite = await stand.suite()
    space = await open_space(suite, members=stand.many(20, least=2))
    for member in space.members:
        await _leave_rows(space, member)
    rounds = Rounds()
    for member in space.members[:5]:
        rounds.samples.append(await _export(space, member))
    # All at once: what the suite spends on waiting is a small share of it, and is counted.
    meter, count = await Meter.of(suite), len(space.members)
    await asyncio.gather(*(_export(space, member) for member in space.members))
    notes = (await meter.spent()).notes(count)
    return [
        Figure(
            "exports of one person, work",
            notes["cpu_ms"] / 1000,
            "s",
            goals=(at_most("value", 0.1),),
            record="0021",
            p50_ms=rounds.percentile_ms(50),
            p99_ms=rounds.percentile_ms(99),
            rss_mb=memory_mb(suite.pids("privacy")),
            notes=notes,
        )
    ]


async def _leave_rows(space: Space, member: Member) -> None:
    """About twenty rows in four services: tickets and their words, posts and comments, a session, a profile."""
    for number in range(4):
        await space.client.call("POST", "/helpdesk/v1/tickets", TICKET, by=member)
        post = {"body": f"Who joins for lunch on day {number}?"}
        made = await space.client.call("POST", "/feed/v1/posts", post, by=member)
        await space.client.call("POST", f"/feed/v1/posts/{made['id']}/comments", {"body": "Moi !"}, by=member)


async def _export(space: Space, member: Member) -> Sample:
    began = time.perf_counter()
    export = await space.client.call("POST", "/privacy/v1/exports", by=member)
    url = f"/privacy/v1/exports/{export['id']}"
    while export["state"] == "waiting":
        await asyncio.sleep(0.01)
        export = await space.client.call("GET", url, by=member)
    seconds = time.perf_counter() - began
    with zipfile.ZipFile(io.BytesIO(await space.client.get_bytes(f"{url}/file", by=member))) as archive:
        if b"Mon badge" not in archive.read("helpdesk.json") or b"lunch on day 3" not in archive.read("feed.json"):
            raise RuntimeError("the copy is not whole")
    return Sample(1, seconds, (seconds * 1000,))
