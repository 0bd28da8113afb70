"""Journey 5: what is past its date goes, after a dry run and, for an account, a warning; the invoices' chain still verifies."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from services.billing.models import Base as Billing
from services.helpdesk.models import Base as Helpdesk
from shared.db import Database
from shared.privacy import retention
from shared.privacy.manifest import Manifest


async def swept(space: Any, service: str, metadata: Any, *, now: datetime) -> tuple[dict[str, int], dict[str, int]]:
    """Preview, then sweep a service as its nightly job does at `now`; return both counts by table."""
    database = Database(space.suite.app_url(service), pool_size=1)
    manifest = Manifest.of(service, metadata)
    dry = {due.table: due.count for due in await retention.preview(database, manifest, now=now)}
    done = {due.table: due.count for due in await retention.sweep(database, manifest, now=now)}
    await database.close()
    return dry, done


async def test_past_its_date_everything_goes_and_the_chain_still_verifies(space: Any) -> None:
    client, nora = space.client, await space.join("Nora", last_name="Longago")
    price = await client.call("POST", "/billing/v1/prices", {"name": "Pass", "price_minor": 2000}, by=space.alma)
    line = {"price_id": price["id"], "quantity": 1}
    await client.call("POST", "/billing/v1/quotes", {"account_id": nora.account_id, "lines": [line]}, by=space.alma)
    await client.call("POST", "/billing/v1/orders", {"lines": [line]}, by=nora)
    ticket = await client.call("POST", "/helpdesk/v1/tickets", {"subject": "Old", "body": "words"}, by=nora)
    invoice = await the_invoice(space)
    pay = {"amount_minor": 2000, "method": "desk", "received_on": "2026-11-24"}
    await client.call("POST", f"/billing/v1/documents/{invoice['id']}/payments", pay, by=space.alma)
    closed = "UPDATE tickets SET state = 'closed', closed_at = now() WHERE id = $1 RETURNING id"
    await space.suite.query("helpdesk", closed, ticket["id"])

    soon, later = datetime.now(UTC) + timedelta(days=365 * 2), datetime.now(UTC) + timedelta(days=366 * 3 + 2)
    assert (await swept(space, "helpdesk", Helpdesk.metadata, now=soon))[1].get("tickets", 0) == 0, "not due yet"
    dry, done = await swept(space, "helpdesk", Helpdesk.metadata, now=later)
    assert dry["tickets"] == done["tickets"] >= 1
    dry, done = await swept(space, "billing", Billing.metadata, now=later)
    assert done["quotes"] == dry["quotes"] >= 1
    end = datetime(invoice_year(invoice) + 11, 1, 2, tzinfo=UTC)
    dry, done = await swept(space, "billing", Billing.metadata, now=end)
    assert done["documents"] == dry["documents"] >= 1
    shown = await client.call("GET", f"/billing/v1/documents/{invoice['id']}", by=space.alma)
    assert shown["buyer"] is None
    chain = await client.call("GET", "/billing/v1/chain", by=space.alma)
    assert chain["broken_at"] is None


def invoice_year(invoice: Any) -> int:
    return int(invoice["issued_on"][:4])


async def the_invoice(space: Any) -> Any:
    for _ in range(200):
        page = await space.client.call("GET", "/billing/v1/documents?everybody=true&kind=invoice", by=space.alma)
        if page["data"]:
            return page["data"][0]
        await asyncio.sleep(0.1)
    raise AssertionError("no invoice")


async def test_an_unused_account_is_warned_first_and_then_goes(space: Any, postbox: Any) -> None:
    nora = await space.join("Nora", last_name="Asleep")
    await space.quiet()
    unused = "UPDATE accounts SET last_seen_at = now() - interval '23 months 15 days' WHERE id = $1 RETURNING id"
    await space.suite.query("identity", unused, nora.account_id)
    await run_job(space, "end_inactive_accounts")
    for _ in range(200):
        if any(mail["To"] == nora.email and "unused" in mail["Subject"] for mail in postbox.mails):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("no warning came")
    assert await space.client.call("GET", "/identity/v1/profile", by=nora), "warned, not gone"
    past = (
        "UPDATE accounts SET last_seen_at = now() - interval '2 years 31 days',"
        " inactivity_warned_on = current_date - 31 WHERE id = $1 RETURNING id"
    )
    await space.suite.query("identity", past, nora.account_id)
    await run_job(space, "end_inactive_accounts")
    for _ in range(300):
        if not await space.suite.query("identity", "SELECT 1 FROM accounts WHERE id = $1", nora.account_id):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the unused account is still there")


async def run_job(space: Any, name: str) -> None:
    """Make identity's job due; its worker runs it."""
    due = "UPDATE scheduled_jobs SET due_at = now(), claimed_until = NULL WHERE name = $1 RETURNING name"
    assert await space.suite.query("identity", due, name)
    for _ in range(400):
        waiting = await space.suite.query(
            "identity", "SELECT 1 FROM scheduled_jobs WHERE name = $1 AND due_at <= now()", name
        )
        if not waiting:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the job does not run")
