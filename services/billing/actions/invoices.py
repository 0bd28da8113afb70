"""Finalizing: number, freeze and chain a document; crediting it; settling what is owed."""

import secrets
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.parties import find_account_id, get_seller
from services.billing.chain import digest_buyer, link_hash
from services.billing.errors import CreditExceedsInvoice, DocumentNotFound
from services.billing.models import Claim, Document, DocumentKind, Order, OrderState, Payment, Refund
from services.billing.numbering import note_hash, take_number
from services.billing.vat import total_of, vat_of
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.billing import CreditNoteIssued, InvoiceIssued, InvoicePaid

DUE_DAYS = 30


async def issue_invoice(
    session: AsyncSession, order: Order, *, buyer: dict[str, Any], language: str, now: datetime
) -> Document:
    """Number and freeze an order's invoice; a second call returns the first invoice.

    Amounts are integer minor units of the order's currency, VAT included; VAT is rounded once per rate. The number
    is the next of the tenant's yearly series, without gaps. Raises SellerUnknown.
    """
    known = await find_invoice(session, order.id)
    if known is not None:
        return known
    seller = await get_seller(session)
    content = {
        "kind": DocumentKind.INVOICE,
        "party_id": order.party_id,
        "order_id": order.id,
        "invoice_id": None,
        "due_on": now.date() + timedelta(days=DUE_DAYS),
        "language": language,
        "currency": order.currency,
        "lines": order.lines,
        "seller": seller.details,
    }
    invoice = await _finalize(session, content, buyer, now=now)
    claim = {"tenant_id": invoice.tenant_id, "invoice_id": invoice.id, "party_id": order.party_id, "version": 1}
    await session.execute(insert(Claim).values(**claim, open_minor=invoice.total_minor))
    order.state = OrderState.INVOICED
    order.version += 1
    event = InvoiceIssued(
        tenant_id=invoice.tenant_id,
        invoice_id=invoice.id,
        order_id=order.id,
        account_id=await find_account_id(session, order.party_id),
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        due_on=invoice.due_on,
    )
    await publish(session, event)
    return invoice


async def issue_credit_note(
    session: AsyncSession, invoice: Document, *, amount_minor: int, reason: str, now: datetime
) -> Document:
    """Credit part or all of an invoice, to the party and under the names that the invoice has.

    Raises CreditExceedsInvoice beyond what earlier credit notes have left.
    """
    claim = (await session.execute(select(Claim).where(Claim.invoice_id == invoice.id).with_for_update())).scalar_one()
    remainder = await remainder_of(session, invoice)
    if not 0 < amount_minor <= remainder:
        raise CreditExceedsInvoice(remainder_minor=remainder)
    content = {
        "kind": DocumentKind.CREDIT_NOTE,
        "party_id": invoice.party_id,
        "order_id": invoice.order_id,
        "invoice_id": invoice.id,
        "due_on": now.date(),
        "language": invoice.language,
        "currency": invoice.currency,
        "lines": _credited_lines(invoice, amount_minor, reason),
        "seller": invoice.seller,
    }
    note = await _finalize(session, content, invoice.buyer or {}, now=now)
    await _settle(session, claim, -amount_minor, on=now.date())
    if claim.open_minor < 0:
        refund = {"tenant_id": note.tenant_id, "credit_note_id": note.id}
        await session.execute(insert(Refund).values(**refund, amount_minor=min(-claim.open_minor, amount_minor)))
    event = CreditNoteIssued(
        tenant_id=note.tenant_id,
        credit_note_id=note.id,
        invoice_id=invoice.id,
        account_id=await find_account_id(session, note.party_id),
        total_minor=note.total_minor,
        currency=note.currency,
    )
    await publish(session, event)
    return note


async def remainder_of(session: AsyncSession, invoice: Document) -> int:
    """Return what earlier credit notes have left of an invoice's total."""
    credited = select(func.coalesce(func.sum(Document.total_minor), 0)).where(Document.invoice_id == invoice.id)
    return invoice.total_minor - int(await session.scalar(credited) or 0)


def _credited_lines(invoice: Document, amount_minor: int, reason: str) -> list[dict[str, Any]]:
    """A full credit repeats the invoice's lines; a part is spread over its rates by their share."""
    if amount_minor == invoice.total_minor:
        return invoice.lines
    lines, left = [], amount_minor
    for index, rate in enumerate(invoice.vat):
        is_last = index == len(invoice.vat) - 1
        part = left if is_last else amount_minor * rate["gross_minor"] // invoice.total_minor
        lines.append({"text": reason, "quantity": 1, "unit_minor": part, "vat_rate_bp": rate["rate_bp"]})
        left -= part
    return lines


async def _finalize(
    session: AsyncSession, content: dict[str, Any], buyer: dict[str, Any], *, now: datetime
) -> Document:
    year, kind = now.year, content["kind"]
    content = {
        **content,
        "year": year,
        "issued_on": now.date(),
        "vat": vat_of(content["lines"]),
        "total_minor": total_of(content["lines"]),
    }
    salt = secrets.token_bytes(32)
    buyer_digest = digest_buyer(salt, buyer)
    # The number is taken last: the locked row is held for the two statements that follow.
    taken = await take_number(session, kind=kind, year=year)
    content["number"] = taken.number
    row = {
        **content,
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "buyer": buyer,
        "salt": salt,
        "buyer_digest": buyer_digest,
        "previous_hash": taken.previous_hash,
        "hash": link_hash(taken.previous_hash, content, buyer_digest),
        "finalized_at": now,
    }
    document = (await session.execute(insert(Document).values(row).returning(Document))).scalar_one()
    await note_hash(session, kind=kind, year=year, hash_=document.hash)
    return document


async def record_payment(
    session: AsyncSession, invoice: Document, *, amount_minor: int, method: str, received_on: date, note: str | None
) -> Payment:
    """Note money received; partial and too large payments are kept as they are."""
    claim = (await session.execute(select(Claim).where(Claim.invoice_id == invoice.id).with_for_update())).scalar_one()
    was_open = claim.settled_on is None
    payment = Payment(
        tenant_id=invoice.tenant_id,
        invoice_id=invoice.id,
        party_id=invoice.party_id,
        amount_minor=amount_minor,
        method=method,
        received_on=received_on,
        note=note,
    )
    session.add(payment)
    await _settle(session, claim, -amount_minor, on=received_on)
    await session.flush()
    if was_open and claim.settled_on is not None:
        account_id = await find_account_id(session, invoice.party_id)
        common = {"tenant_id": invoice.tenant_id, "invoice_id": invoice.id, "order_id": invoice.order_id}
        await publish(session, InvoicePaid(**common, account_id=account_id), version=2)
    return payment


async def _settle(session: AsyncSession, claim: Claim, change_minor: int, *, on: date) -> None:
    claim.open_minor += change_minor
    claim.version += 1
    if claim.open_minor <= 0 and claim.settled_on is None:
        claim.settled_on = on
    await session.flush()


async def find_invoice(session: AsyncSession, order_id: UUID) -> Document | None:
    """Return an order's invoice, or None before it is issued."""
    of_order = select(Document).where(Document.order_id == order_id, Document.kind == DocumentKind.INVOICE)
    return (await session.execute(of_order)).scalar_one_or_none()


async def get_document(session: AsyncSession, document_id: UUID, *, party_id: UUID | None) -> Document:
    """Return a document; with `party_id`, only that party's. Raises DocumentNotFound."""
    document = await session.get(Document, document_id)
    if document is None or (party_id is not None and document.party_id != party_id):
        raise DocumentNotFound
    return document


async def list_documents(
    session: AsyncSession,
    *,
    kind: DocumentKind | None,
    party_id: UUID | None,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[tuple[Document, Claim | None]]:
    """Return up to `limit + 1` documents with their claims, newest first, after (finalized_at, id)."""
    statement = select(Document, Claim).join(Claim, Claim.invoice_id == Document.id, isouter=True).limit(limit + 1)
    if kind is not None:
        statement = statement.where(Document.kind == kind)
    if party_id is not None:
        statement = statement.where(Document.party_id == party_id)
    if after is not None:
        finalized_at, id_ = after
        earlier = (Document.finalized_at < finalized_at) | (
            (Document.finalized_at == finalized_at) & (Document.id < id_)
        )
        statement = statement.where(earlier)
    ordered = statement.order_by(Document.finalized_at.desc(), Document.id.desc())
    return (await session.execute(ordered)).tuples().all()
