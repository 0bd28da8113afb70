"""Numbers without gaps, documents that never change, credits, payments, and what an erasure leaves."""

import asyncio
import io
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pypdf
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.billing.actions import invoices, purchases
from services.billing.chain import verify_chain
from services.billing.pdf import amount
from services.billing.vat import total_of, vat_of
from shared.db import utc_now, uuid7
from shared.events.billing import CreditNoteIssued, InvoiceIssued, InvoicePaid
from shared.events.booking import CancelReason, ReservationCancelled, ReservationConfirmed
from shared.events.erasure import RECEIPTS, Outcome
from shared.privacy import retention

ACCOUNT_ERASED, _, _ = RECEIPTS["billing"]


def reservation(shop: Any, person: Any, **more: Any) -> ReservationConfirmed:
    starts_at = utc_now() + timedelta(days=7)
    fields = {"reservation_id": uuid7(), "resource_id": uuid7(), "order_id": uuid7(), "price_minor": 4500}
    fields |= {
        "starts_at": starts_at,
        "ends_at": starts_at + timedelta(hours=3),
        "currency": "EUR",
        "vat_rate_bp": 2000,
    }
    return ReservationConfirmed(tenant_id=shop.tenant, account_id=person.account_id, **{**fields, **more})


def cancelled(event: ReservationConfirmed, refund_minor: int) -> ReservationCancelled:
    return ReservationCancelled(
        tenant_id=event.tenant_id,
        reservation_id=event.reservation_id,
        account_id=None,
        order_id=event.order_id,
        starts_at=event.starts_at,
        reason=CancelReason.ACCOUNT_DEACTIVATED,
        refund_minor=refund_minor,
        currency="EUR",
    )


async def test_two_hundred_parallel_finalizations_with_rollbacks_leave_no_gap(shop: Any) -> None:
    rng = random.Random(5)
    made = [
        await shop.order(shop.ada, [{"text": "x", "quantity": 1, "unit_minor": 100, "vat_rate_bp": 2000}])
        for _ in range(200)
    ]

    async def finalize(order_id: UUID) -> None:
        while True:
            fails = rng.random() < 0.2
            try:
                async with shop.billing.database.transaction(shop.tenant) as session:
                    await invoices.issue_invoice(session, order_id, name="x", language="fr", now=utc_now())
                    if fails:
                        raise RuntimeError("rolled back on purpose")
                return
            except RuntimeError:
                continue

    await asyncio.gather(*(finalize(order_id) for order_id in made))
    rows = await shop.billing.rows("SELECT number FROM documents WHERE kind = 'invoice' ORDER BY number", shop.tenant)
    assert [row.number for row in rows] == list(range(1, 201))
    chain = (await shop.maud.get("/chain")).json()
    assert chain == {"checked": 200, "broken_at": None}


async def test_a_finalized_document_never_changes(shop: Any) -> None:
    invoice = await shop.invoice(shop.ada)
    for write in (
        "UPDATE documents SET total_minor = 1",
        "UPDATE documents SET buyer = NULL, salt = NULL",
        "DELETE FROM documents",
        "SELECT set_config('cowork.erasing', 'on', true); UPDATE documents SET number = 7, buyer = NULL, salt = NULL",
    ):
        with pytest.raises(DBAPIError):
            async with shop.billing.database.transaction(shop.tenant) as session:
                for statement in write.split("; "):
                    await session.execute(text(statement))
    again = await shop.finalize(invoice.order_id, name="other")
    assert again.id == invoice.id, "a second call returns the first invoice"


async def test_the_chain_shows_a_forged_amount(shop: Any) -> None:
    await shop.invoice(shop.ada)
    forged = await shop.invoice(shop.ada)
    await shop.invoice(shop.ada)
    report = await _verify_with(shop, forged.id, total_minor=forged.total_minor + 1)
    assert report.broken_at is not None


async def _verify_with(shop: Any, document_id: UUID, **changed: Any) -> Any:
    """Verify the chain over rows of which one was changed behind the database's back (by its superuser)."""
    import os

    import asyncpg

    name = shop.billing.database.engine.url.database
    connection = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=name)
    await connection.execute("ALTER TABLE documents DISABLE TRIGGER frozen")
    for column, value in changed.items():
        await connection.execute(f"UPDATE documents SET {column} = $1 WHERE id = $2", value, document_id)
    await connection.execute("ALTER TABLE documents ENABLE TRIGGER frozen")
    await connection.close()
    async with shop.billing.database.transaction(shop.tenant) as session:
        return await verify_chain(session)


@pytest.mark.parametrize("seed", range(5))
def test_vat_is_rounded_once_per_rate_and_always_adds_up(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        lines = [
            {"text": "x", "quantity": rng.randrange(1, 9), "unit_minor": rng.randrange(1, 99999), "vat_rate_bp": rate}
            for rate in rng.choices([2000, 1000, 550, 0], k=rng.randrange(1, 8))
        ]
        rates = vat_of(lines)
        assert sum(rate["gross_minor"] for rate in rates) == total_of(lines)
        assert len({rate["rate_bp"] for rate in rates}) == len(rates)
        for rate in rates:
            assert rate["base_minor"] + rate["vat_minor"] == rate["gross_minor"]
            exact = rate["gross_minor"] * rate["rate_bp"] / (10_000 + rate["rate_bp"])
            assert abs(rate["vat_minor"] - exact) <= 0.5


async def test_the_printed_invoice_says_what_the_row_says_and_prints_the_same_again(shop: Any) -> None:
    invoice = await shop.invoice(shop.ada, quantity=3, price_minor=1234)
    url = f"/documents/{invoice.id}/pdf"
    first, second = await shop.ada.get(url), await shop.maud.get(url)
    assert first.status_code == 200, first.text
    assert first.content == second.content
    words = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(first.content)).pages)
    assert f"INV-{invoice.year}-000001" in words
    assert "37,02 EUR" in words
    assert "Canal SAS" in words
    assert "40 €" in words
    assert (await shop.nora.get(url)).status_code == 404


@pytest.mark.parametrize(
    ("amount_minor", "currency", "language", "shown"),
    [
        (3702, "EUR", "fr", "37,02"),
        (5, "CHF", "en", "0.05"),
        (3702, "XPF", "fr", "3702"),
        (3702, "KWD", "en", "3.702"),
        (0, "JPY", "en", "0"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(
    amount_minor: int, currency: str, language: str, shown: str
) -> None:
    assert amount(amount_minor, currency, language) == shown


async def test_a_price_in_francs_of_the_pacific_is_printed_without_cents(shop: Any) -> None:
    price = {"name": "Day pass", "price_minor": 2400, "currency": "XPF", "vat_rate_bp": 1300}
    wanted = {"price_id": (await shop.maud.post("/prices", price)).json()["id"], "quantity": 2}
    order = (await shop.ada.post("/orders", {"lines": [wanted]})).json()
    invoice = await shop.finalize(UUID(order["id"]), name="ada@example.org")
    pdf = await shop.ada.get(f"/documents/{invoice.id}/pdf")
    words = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf.content)).pages)
    assert "4800 XPF" in words
    assert "2123,89" in words, "the unit price without VAT, to a hundredth"
    assert "48,00" not in words


async def test_an_order_waits_for_its_invoice_while_identity_is_down(shop: Any) -> None:
    order_id = await shop.buy(shop.ada)
    await shop.billing.run_job("invoice_due_orders")
    assert (await shop.ada.get("/documents")).json()["data"] == []
    await shop.finalize(order_id, name="ada@example.org")
    (document,) = (await shop.ada.get("/documents")).json()["data"]
    assert (document["open_minor"], document["buyer"]) == (2000, {"name": "ada@example.org"})
    (event,) = await shop.billing.published(InvoiceIssued, shop.tenant)
    assert event.account_id == shop.ada.account_id


async def test_credits_never_exceed_their_invoice_and_payments_settle_it(shop: Any) -> None:
    invoice = await shop.invoice(shop.ada)
    credit = f"/documents/{invoice.id}/credit-notes"
    too_much = await shop.maud.post(credit, {"amount_minor": 2001, "reason": "goodwill"})
    assert (too_much.status_code, too_much.json()["remainder_minor"]) == (422, 2000)
    part = await shop.maud.post(credit, {"amount_minor": 500, "reason": "goodwill"})
    assert part.status_code == 201, part.text
    assert part.json()["vat"] == [{"rate_bp": 2000, "base_minor": 417, "vat_minor": 83, "gross_minor": 500}]
    pay = {"amount_minor": 1500, "method": "transfer", "received_on": "2026-11-24"}
    paid = await shop.maud.post(f"/documents/{invoice.id}/payments", pay, key="k")
    again = await shop.maud.post(f"/documents/{invoice.id}/payments", pay, key="k")
    assert paid.json() == again.json()
    shown = (await shop.ada.get(f"/documents/{invoice.id}")).json()
    assert (shown["open_minor"], shown["settled_on"]) == (0, "2026-11-24")
    assert len(await shop.billing.published(InvoicePaid, shop.tenant)) == 1
    assert len(await shop.billing.published(CreditNoteIssued, shop.tenant)) == 1
    assert (await shop.ada.post(credit, {"amount_minor": 1, "reason": "goodwill"})).status_code == 403


async def test_a_quote_is_accepted_once_and_orders(shop: Any) -> None:
    from services.billing.actions import quotes

    async with shop.billing.database.transaction(shop.tenant) as session:
        lines = [{"text": "Desk, a year", "quantity": 12, "unit_minor": 20000, "vat_rate_bp": 2000}]
        quote = await quotes.issue_quote(
            session, shop.ada.account_id, issued_by=shop.maud.account_id, currency="EUR", lines=lines,
            buyer_name="ada@example.org", now=utc_now(),
        )  # fmt: skip
    url = f"/quotes/{quote.id}/answer"
    assert (await shop.nora.put(url, {"accept": True}, etag='"1"')).status_code == 404
    accepted = await shop.ada.put(url, {"accept": True}, etag='"1"')
    assert accepted.json()["state"] == "accepted"
    assert accepted.json()["order_id"]
    assert (await shop.ada.put(url, {"accept": False}, etag=accepted.headers["etag"])).json()[
        "code"
    ] == "quote_answered"


async def test_the_private_address_is_set_changed_and_deleted(shop: Any, address: dict[str, str]) -> None:
    assert (await shop.nora.get("/billing-address")).status_code == 404
    made = await shop.nora.put("/billing-address", address)
    assert (made.status_code, made.json()["street"]) == (200, "7 rue Oubliée")
    assert (await shop.nora.put("/billing-address", address)).status_code == 428
    invoice = await shop.invoice(shop.nora)
    assert invoice.buyer["street"] == "7 rue Oubliée"
    assert (await shop.nora.delete("/billing-address", etag=made.headers["etag"])).status_code == 204
    assert (await shop.nora.get("/billing-address")).status_code == 404
    rows = await shop.billing.rows("SELECT street FROM parties WHERE street IS NOT NULL", shop.tenant)
    assert rows == []


async def test_a_paid_reservation_is_credited_to_the_right_party_after_the_erasure(
    shop: Any, address: dict[str, str]
) -> None:
    await shop.nora.put("/billing-address", address)
    event = reservation(shop, shop.nora)
    await shop.billing.receive(event)
    invoice = await shop.finalize(event.order_id, name="nora@example.org")
    pay = {"amount_minor": 4500, "method": "transfer", "received_on": "2026-11-24", "note": "from Nora's mother"}
    await shop.maud.post(f"/documents/{invoice.id}/payments", pay)
    unpaid = await shop.invoice(shop.nora)
    before = (await shop.maud.get(f"/documents/{invoice.id}/pdf")).content
    await shop.forget(shop.nora)
    await shop.billing.receive(cancelled(event, 4500))
    (receipt,) = await shop.billing.published(ACCOUNT_ERASED, shop.tenant)
    assert receipt.outcome is Outcome.RETAINED
    assert sorted((r.rule, r.ground, str(r.until), r.count) for r in receipt.retained) == [
        ("claims", "open_claim", "None", 1), ("documents", "legal_archive", f"{invoice.year + 10}-12-31", 2),
    ]  # fmt: skip
    (credit,) = await shop.billing.rows("SELECT * FROM documents WHERE kind = 'credit_note'", shop.tenant)
    assert (credit.party_id, credit.buyer, credit.total_minor) == (invoice.party_id, invoice.buyer, 4500)
    assert [row.amount_minor for row in await shop.billing.rows("SELECT * FROM refunds", shop.tenant)] == [4500]
    (claim,) = await shop.billing.rows("SELECT * FROM claims WHERE settled_on IS NULL", shop.tenant)
    assert claim.invoice_id == unpaid.id
    for table in ("parties", "account_parties"):
        assert await shop.billing.rows(f"SELECT 1 FROM {table}", shop.tenant) == []
    assert [row.note for row in await shop.billing.rows("SELECT note FROM payments", shop.tenant)] == [None]
    assert (await shop.maud.get(f"/documents/{invoice.id}/pdf")).content == before
    assert (await shop.maud.get("/chain")).json()["broken_at"] is None


async def test_a_cancellation_credits_only_what_goodwill_has_left(shop: Any) -> None:
    event = reservation(shop, shop.ada)
    await shop.billing.receive(event)
    invoice = await shop.finalize(event.order_id, name="ada@example.org")
    await shop.maud.post(f"/documents/{invoice.id}/credit-notes", {"amount_minor": 4000, "reason": "goodwill"})
    await shop.billing.receive(cancelled(event, 4500))
    rows = await shop.billing.rows("SELECT total_minor FROM documents WHERE kind = 'credit_note'", shop.tenant)
    assert sorted(row.total_minor for row in rows) == [500, 4000]


async def test_a_late_reservation_of_an_erased_member_orders_nothing(shop: Any) -> None:
    await shop.forget(shop.nora)
    outcome = await shop.billing.receive(reservation(shop, shop.nora))
    assert outcome == "subject_erased"
    assert await shop.billing.rows("SELECT 1 FROM orders", shop.tenant) == []


async def test_documents_past_their_legal_time_are_anonymized_and_the_chain_still_verifies(
    shop: Any, address: dict[str, str]
) -> None:
    await shop.nora.put("/billing-address", address)
    old, open_ = await shop.invoice(shop.nora), await shop.invoice(shop.nora)
    await shop.maud.post(
        f"/documents/{old.id}/payments", {"amount_minor": 2000, "method": "desk", "received_on": "2026-11-24"}
    )
    service, later = shop.billing.service, datetime(old.year + 11, 1, 2, tzinfo=UTC)
    assert await retention.preview(service.database, service.manifest, now=later - timedelta(days=3)) is not None
    due = {entry.table: entry.count for entry in await retention.preview(service.database, service.manifest, now=later)}
    assert due["documents"] >= 1
    await retention.sweep(service.database, service.manifest, now=later)
    rows = await shop.billing.rows("SELECT id, buyer, salt FROM documents ORDER BY number", shop.tenant)
    assert [(row.id, row.buyer is None, row.salt is None) for row in rows] == [
        (old.id, True, True),
        (open_.id, False, False),
    ]
    assert (await shop.maud.get("/chain")).json() == {"checked": 2, "broken_at": None}


async def test_another_space_sees_no_document(shop: Any) -> None:
    invoice = await shop.invoice(shop.ada)
    from shared.events.identity import Role

    stranger = shop.billing.person(await shop.billing.tenant(), Role.ADMIN)
    assert (await stranger.get(f"/documents/{invoice.id}")).status_code == 404
    assert (await stranger.get("/documents", params={"everybody": True})).json()["data"] == []


async def test_a_purchase_is_invoiced_in_its_own_transaction_once_identity_has_named_the_buyer(shop: Any) -> None:
    wanted = [{"price_id": UUID(await shop.price()), "quantity": 2}]
    async with shop.billing.database.transaction(shop.tenant) as session:
        contact = ("Ada Example", "en")
        made = await purchases.buy(session, shop.ada.account_id, wanted, contact=contact, now=utc_now())
    shown = (await shop.ada.get(f"/orders/{made.order.id}")).json()
    assert (shown["state"], shown["invoice_id"]) == ("invoiced", str(made.invoice_id))
    assert (await shop.ada.get("/orders")).json()["data"] == [shown]
    document = (await shop.ada.get(f"/documents/{made.invoice_id}")).json()
    assert (document["order_id"], document["open_minor"]) == (shown["id"], 4000)
    assert document["buyer"] == {"name": "Ada Example"}
    (event,) = await shop.billing.published(InvoiceIssued, shop.tenant)
    assert (event.order_id, event.account_id) == (made.order.id, shop.ada.account_id)
    await shop.billing.run_job("invoice_due_orders")
    assert len((await shop.ada.get("/documents")).json()["data"]) == 1
    async with shop.billing.database.transaction(shop.tenant) as session:
        assert (await verify_chain(session)).broken_at is None
