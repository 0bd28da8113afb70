"""Invoices finalized in one series against the raw locked row; and order, numbered invoice and PDF over HTTP."""

import asyncio
from collections.abc import Sequence

from services.billing.actions.invoices import issue_invoice
from services.billing.app import create_service
from services.billing.settings import Settings
from shared.db import utc_now
from shared.settings import SuiteSettings
from tests.bench.costs import Meter, memory_mb
from tests.bench.figures import ROUNDS, Figure, Goal, Rounds, at_least, at_most, bench, hammer, interleaved
from tests.bench.raw_billing import RawBilling, place_due_orders
from tests.bench.space import Space, open_space
from tests.bench.stand import Stand
from tests.bench.wire import Wires, prepared
from tests.support.testing import ServiceUnderTest, TokenMint

CLIENTS = 32
SHOPPERS = 8
ORDERS = "/api/billing/v1/orders"
SELLER = {"legal_name": "Canal SAS", "street": "1 quai", "postcode": "75010", "city": "Paris", "siren": "123456789"}


@bench("invoices")
async def measure_invoices(stand: Stand) -> Sequence[Figure]:
    urls = await stand.databases.clone("billing")
    suite = SuiteSettings(files_url=stand.folder.as_uri())
    secrets = {"client_secret": "unused", "digest_key": "k" * 32}
    settings = Settings(suite=suite, database_url=urls.app, pool_size=CLIENTS, **secrets)
    billing = ServiceUnderTest(create_service(settings, fetch_keys=TokenMint().fetch_keys), TokenMint())
    tenant, rival = await billing.tenant(), await billing.tenant()
    raw = await RawBilling.open(urls.app, rival, clients=CLIENTS)
    count = stand.many(600, least=CLIENTS)
    try:
        due = iter(await place_due_orders(urls.owner, tenant, count * (ROUNDS + 1)))
        theirs = iter(await place_due_orders(urls.owner, rival, count * (ROUNDS + 1)))

        async def ours(_: int) -> None:
            async with billing.database.transaction(tenant) as session:
                await issue_invoice(session, next(due), name="Ada Lovelace", language="en", now=utc_now())

        async def limit(_: int) -> None:
            await raw.invoice(next(theirs))

        mine, bare = await interleaved(lambda: hammer(count, CLIENTS, ours), lambda: hammer(count, CLIENTS, limit))
    finally:
        await raw.close()
        await billing.close()
    return [
        Figure(
            "invoices finalized, 32 clients, one series",
            mine.rate,
            "/s",
            limit=bare.rate,
            ratio=mine.rate / bare.rate,
            goals=(at_least("ratio", 0.5),),
            record="0021",
            p50_ms=mine.percentile_ms(50),
            p99_ms=mine.percentile_ms(99),
        )
    ]


@bench("orders")
async def measure_orders(stand: Stand) -> Sequence[Figure]:
    space = await open_space(await stand.suite(), members=SHOPPERS)
    await space.client.call("PUT", "/billing/v1/seller", SELLER, by=space.admin)
    price = {"name": "Pass journée / Day pass", "price_minor": 2400}
    made = await space.client.call("POST", "/billing/v1/prices", price, by=space.admin)
    shopping = Shopping(space, made["id"])
    alone = await shopping.figure("orders with invoice and PDF, 1 client", 1, stand.many(150), at_most("p50_ms", 20))
    crowd = await shopping.figure("orders with invoice and PDF, 8 clients", 8, stand.many(450), at_least("value", 150))
    return [alone, crowd, await shopping.left_out()]


class Shopping:
    """Members who order, and read their invoice as soon as it is there."""

    def __init__(self, space: Space, price_id: str) -> None:
        self._space = space
        body = {"lines": [{"price_id": price_id, "quantity": 1}]}
        self._orders = [prepared("POST", ORDERS, token=one.token, body=body) for one in space.members]
        self._placed = 0

    async def figure(self, name: str, clients: int, count: int, goal: Goal) -> Figure:
        rounds, suite = Rounds(), self._space.suite
        async with Wires.to(suite.base_url("billing"), clients=clients) as wires:

            async def shop(number: int) -> None:
                await self._shop(wires, number % len(self._orders))

            await hammer(max(clients, count // 10), clients, shop)
            meter = await Meter.of(suite)
            for _ in range(ROUNDS):
                rounds.samples.append(await hammer(max(clients, count // ROUNDS), clients, shop))
            cost = await meter.spent()
        return Figure(
            name,
            rounds.rate,
            "/s",
            goals=(goal,),
            record="0021",
            p50_ms=rounds.percentile_ms(50),
            p99_ms=rounds.percentile_ms(99),
            rss_mb=memory_mb(suite.pids("billing")),
            notes=cost.notes(sum(sample.count for sample in rounds.samples)),
        )

    async def _shop(self, wires: Wires, who: int) -> None:
        token = self._space.members[who].token
        order = (await wires.send(self._orders[who], expect=201)).json()
        self._placed += 1
        while order["invoice_id"] is None:
            await asyncio.sleep(0.02)
            order = (await wires.send(prepared("GET", f"{ORDERS}/{order['id']}", token=token), expect=200)).json()
        pdf = f"/api/billing/v1/documents/{order['invoice_id']}/pdf"
        printed = await wires.send(prepared("GET", pdf, token=token), expect=200)
        if not printed.body.startswith(b"%PDF-"):
            raise RuntimeError("the invoice is no PDF")

    async def left_out(self) -> Figure:
        """Count the orders with exactly one invoice, and check that the numbers have no gap."""
        row = await self._space.suite.query(
            "billing",
            "SELECT count(*) AS invoices, count(DISTINCT order_id) AS orders, max(number) AS last FROM documents d"
            " WHERE kind = 'invoice' AND tenant_id = (SELECT tenant_id FROM tenants WHERE slug = $1)",
            self._space.client.slug,
        )
        found = dict(row[0])
        if len({self._placed, *found.values()}) > 1:
            raise RuntimeError(f"{self._placed} orders, but {found}")
        share = found["orders"] / self._placed
        return Figure("orders that have their invoice", share, "share", goals=(at_least("value", 1.0),))
