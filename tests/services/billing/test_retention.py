"""How long what is kept: ten years from the close of a financial year that each space has its own of; notes not at all."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from services.billing.actions import invoices, quotes
from services.billing.models import Document, Quote
from shared.db import utc_now
from shared.events.erasure import RECEIPTS
from shared.privacy import retention
from tests.services.billing.conftest import SELLER

ACCOUNT_ERASED, _, _ = RECEIPTS["billing"]
LINE = {"text": "Desk, a year", "quantity": 12, "unit_minor": 20000, "vat_rate_bp": 2000, "nature": "services"}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


async def close_in(shop: Any, month: int | None) -> None:
    etag = (await shop.alma.get("/seller")).headers["etag"]
    changed = await shop.alma.put("/seller", {**SELLER, "closing_month": month}, etag=etag)
    assert changed.json()["closing_month"] == month


async def invoice_on(shop: Any, day: date, order_id: UUID | None = None) -> Document:
    order_id = order_id or await shop.order(shop.nora, [LINE])
    async with shop.billing.database.transaction(shop.tenant) as session:
        made = await invoices.issue_invoice(session, order_id, name="Nora Example", language="fr", now=noon(day))
        assert made is not None
        return made


async def pay(shop: Any, invoice: Document, **more: Any) -> Any:
    body = {"amount_minor": invoice.total_minor, "method": "transfer", "received_on": "2026-11-24", **more}
    return await shop.maud.post(f"/documents/{invoice.id}/payments", body)


async def retained(shop: Any) -> dict[str, str]:
    await shop.forget(shop.nora)
    (receipt,) = await shop.billing.published(ACCOUNT_ERASED, shop.tenant)
    return {one.rule: str(one.until) for one in receipt.retained if one.ground == "legal_archive"}


async def swept(shop: Any, day: date) -> None:
    await retention.sweep(shop.billing.service.database, shop.billing.service.manifest, now=noon(day))


@pytest.mark.parametrize(
    ("issued_on", "closing_month", "until"),
    [
        (date(2026, 8, 15), None, date(2036, 12, 31)),
        (date(2026, 8, 15), 6, date(2037, 6, 30)),
        (date(2026, 6, 30), 6, date(2036, 6, 30)),
        (date(2026, 2, 28), 2, date(2036, 2, 29)),
    ],
)
async def test_a_document_is_kept_ten_years_from_the_close_of_the_financial_year(
    shop: Any, issued_on: date, closing_month: int | None, until: date
) -> None:
    await close_in(shop, closing_month)
    invoice = await invoice_on(shop, issued_on)
    await pay(shop, invoice)
    assert await retained(shop) == {"documents": str(until)}, "the receipt says the day"
    buyer = "SELECT buyer FROM documents"
    await swept(shop, until)
    assert [row.buyer["name"] for row in await shop.billing.rows(buyer, shop.tenant)] == ["Nora Example"]
    await swept(shop, date.fromordinal(until.toordinal() + 1))
    assert [row.buyer for row in await shop.billing.rows(buyer, shop.tenant)] == [None]


@pytest.mark.parametrize(
    ("said", "now", "until"), [(12, 6, "2036-12-31"), (6, 12, "2037-06-30"), (None, 6, "2037-06-30")]
)
async def test_when_the_financial_year_changes_the_longer_time_counts(
    shop: Any, said: int | None, now: int, until: str
) -> None:
    """A space that had said nothing when it invoiced means what it says now."""
    await close_in(shop, said)
    await invoice_on(shop, date(2026, 3, 2) if said == 12 else date(2026, 8, 15))
    await close_in(shop, now)
    assert await retained(shop) == {"documents": until}


async def accepted_quote(shop: Any, *, issued_on: date, accepted_on: date) -> Quote:
    async with shop.billing.database.transaction(shop.tenant) as session:
        quote = await quotes.issue_quote(
            session, shop.nora.account_id, issued_by=shop.maud.account_id, currency="EUR", lines=[LINE],
            buyer_name="Nora Example", now=noon(issued_on),
        )  # fmt: skip
        return await quotes.accept_quote(session, shop.nora.account_id, quote, now=noon(accepted_on))


async def test_an_accepted_quote_is_kept_as_long_as_its_invoice(shop: Any) -> None:
    quote = await accepted_quote(shop, issued_on=date(2026, 12, 20), accepted_on=date(2027, 1, 5))
    invoice = await invoice_on(shop, date(2027, 1, 5), quote.order_id)
    assert await retained(shop) == {"documents": "2037-12-31", "quotes": "2037-12-31"}
    kept = "SELECT id FROM quotes"
    await swept(shop, date(2037, 1, 2))
    assert len(await shop.billing.rows(kept, shop.tenant)) == 1, "its year is that of its acceptance"
    await swept(shop, date(2038, 1, 2))
    assert len(await shop.billing.rows(kept, shop.tenant)) == 1, "the invoice is still owed"
    await pay(shop, invoice)
    await swept(shop, date(2038, 1, 2))
    assert await shop.billing.rows(kept, shop.tenant) == []


async def test_a_note_about_somebody_who_has_gone_is_refused_and_the_payment_without_it_is_not(shop: Any) -> None:
    invoice = await shop.invoice(shop.nora)
    await shop.forget(shop.nora)
    refused = await pay(shop, invoice, note="from Nora's mother")
    assert (refused.status_code, refused.json()["code"]) == (409, "buyer_erased")
    assert await shop.billing.rows("SELECT 1 FROM payments", shop.tenant) == []
    assert (await pay(shop, invoice)).status_code == 201
    assert (await shop.maud.get(f"/documents/{invoice.id}")).json()["open_minor"] == 0


async def test_a_note_that_has_outlived_its_account_goes_in_the_next_sweep(shop: Any) -> None:
    for member in (shop.nora, shop.ada):
        await pay(shop, await shop.invoice(member), note="by a friend")
    await shop.forget(shop.nora)
    written = "UPDATE payments SET note = 'from the mother' WHERE note IS NULL RETURNING id"
    assert len(await shop.billing.rows(written, shop.tenant)) == 1
    await swept(shop, utc_now().date())
    notes = await shop.billing.rows("SELECT note FROM payments ORDER BY id", shop.tenant)
    assert [row.note for row in notes] == [None, "by a friend"]
