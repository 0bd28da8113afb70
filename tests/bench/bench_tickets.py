"""Tickets over HTTP on the running suite: opened by eight members, and the first page of a queue of a thousand."""

from collections.abc import Awaitable, Callable, Sequence

from tests.bench.costs import Meter, memory_mb
from tests.bench.figures import Figure, Goal, Rounds, at_least, bench, hammer
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand
from tests.bench.wire import Wires, prepared

CLIENTS = 8
TICKETS = "/api/helpdesk/v1/tickets"
TICKET = {"subject": "Badge", "body": "Mon badge n'ouvre plus la porte.", "category": "access"}


@bench("tickets")
async def measure_tickets(stand: Stand) -> Sequence[Figure]:
    space = await open_space(await stand.suite(), members=CLIENTS)
    async with Wires.to(space.suite.base_url("helpdesk"), clients=CLIENTS) as wires:
        opening = [prepared("POST", TICKETS, token=one.token, body=TICKET) for one in space.members]

        async def open_one(number: int) -> None:
            await wires.send(opening[number % CLIENTS], expect=201)

        await hammer(stand.many(1000), CLIENTS, open_one)
        queue = prepared("GET", f"{TICKETS}?queue=true", token=space.admin.token)

        async def show_page(_: int) -> None:
            await wires.send(queue, expect=200)

        listed = await _figure(
            space, "tickets list page 1 of 1,000", show_page, stand.many(2000), at_least("value", 500)
        )
        opened = await _figure(space, "tickets opened, 8 clients", open_one, stand.many(2500), at_least("value", 700))
    return [opened, listed]


async def _figure(space: Space, name: str, once: Callable[[int], Awaitable[None]], count: int, goal: Goal) -> Figure:
    rounds = Rounds()
    await hammer(max(CLIENTS, count // 10), CLIENTS, once)
    meter = await Meter.of(space.suite)
    for _ in range(3):
        rounds.samples.append(await hammer(max(CLIENTS, count // 3), CLIENTS, once))
    cost = await meter.spent()
    return Figure(
        name,
        rounds.rate,
        "/s",
        goals=(goal,),
        p50_ms=rounds.percentile_ms(50),
        p99_ms=rounds.percentile_ms(99),
        rss_mb=memory_mb(space.suite.pids("helpdesk")),
        notes=cost.notes(sum(sample.count for sample in rounds.samples)),
    )
