"""Tickets over HTTP on the running suite: opened by eight members, and the first page of a queue of a thousand.

The limit writes and reads the same rows of the same database through bare Starlette and asyncpg.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.bench.costs import Meter, memory_mb
from tests.bench.figures import ROUNDS, Figure, Goal, Rounds, at_least, bench, hammer
from tests.bench.raw_tickets import RawTickets
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand
from tests.bench.wire import Wires, prepared

CLIENTS = 8
TICKETS = "/api/helpdesk/v1/tickets"
TICKET = {"subject": "Badge", "body": "Mon badge n'ouvre plus la porte.", "category": "access"}
Once = Callable[[int], Awaitable[object]]


@bench("tickets")
async def measure_tickets(stand: Stand) -> Sequence[Figure]:
    suite = await stand.suite()
    space = await open_space(suite, members=CLIENTS)
    (tenant,) = await suite.query("helpdesk", "SELECT tenant_id FROM tenants WHERE slug = $1", space.client.slug)
    raw = RawTickets(suite.app_url("helpdesk"), tenant["tenant_id"])
    try:
        await raw.ready()
        async with (
            Wires.to(suite.base_url("helpdesk"), clients=CLIENTS) as wires,
            Wires.to(raw.url, clients=CLIENTS) as bare,
        ):
            return await _figures(stand, space, wires, bare)
    finally:
        await raw.stop()


async def _figures(stand: Stand, space: Space, wires: Wires, bare: Wires) -> Sequence[Figure]:
    ours = [prepared("POST", TICKETS, token=one.token, body=TICKET) for one in space.members]
    theirs = [prepared("POST", f"/tickets?requester_id={one.account_id}", body=TICKET) for one in space.members]
    queue = prepared("GET", f"{TICKETS}?queue=true", token=space.admin.token)

    def opening(through: Wires, requests: Sequence[bytes]) -> Once:
        return lambda number: through.send(requests[number % CLIENTS], expect=201)

    await hammer(stand.many(1000), CLIENTS, opening(wires, ours))
    listed = await _figure(
        space,
        "tickets list page 1 of 1,000",
        lambda _: wires.send(queue, expect=200),
        lambda _: bare.send(prepared("GET", "/tickets"), expect=200),
        stand.many(800, least=CLIENTS),
        at_least("value", 500),
    )
    opened = await _figure(
        space,
        "tickets opened, 8 clients",
        opening(wires, ours),
        opening(bare, theirs),
        stand.many(800, least=CLIENTS),
        at_least("value", 700),
    )
    return [opened, listed]


async def _relayed(space: Space) -> None:
    """Wait until nothing that one side has written is left to be relayed in the other's time."""
    while (await space.suite.query("helpdesk", "SELECT count(*) AS waiting FROM outbox"))[0]["waiting"]:
        await asyncio.sleep(0.05)


async def _figure(space: Space, name: str, ours: Once, limit: Once, count: int, goal: Goal) -> Figure:
    mine, bare, costs = Rounds(), Rounds(), []
    await hammer(count // 4 or 1, CLIENTS, ours)
    await hammer(count // 4 or 1, CLIENTS, limit)
    await _relayed(space)
    for _ in range(ROUNDS):
        meter = await Meter.of(space.suite)
        mine.samples.append(await hammer(count, CLIENTS, ours))
        costs.append((await meter.spent()).notes(count))
        bare.samples.append(await hammer(count, CLIENTS, limit))
        await _relayed(space)
    return Figure(
        name,
        mine.rate,
        "/s",
        limit=bare.rate,
        ratio=mine.rate / bare.rate,
        goals=(goal,),
        p50_ms=mine.percentile_ms(50),
        p99_ms=mine.percentile_ms(99),
        rss_mb=memory_mb(space.suite.pids("helpdesk")),
        record="0021",
        notes={measure: sum(cost[measure] for cost in costs) / ROUNDS for measure in costs[0]},
    )
