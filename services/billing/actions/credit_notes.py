"""Correcting a finalized invoice: credit notes, capped by what is left of it, and the refunds they make due."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.documents import finalize, find_invoice
from services.billing.actions.parties import find_account_id
from services.billing.actions.payments import lock_claim, settle
from services.billing.crediting import left_of, lines_of_part, lines_of_whole
from services.billing.errors import CreditExceedsInvoice, RefundNotFound, RefundPaid
from services.billing.local_time import local_day
from services.billing.models import Claim, CreditReason, Document, DocumentKind, Order, OrderState, Refund
from services.billing.vat import total_of, vat_of_more
from services.billing.words import words_of
from shared.bus import publish
from shared.events.billing import CreditNoteIssued


async def credit_order(session: AsyncSession, order_id: UUID, *, refund_minor: int, now: datetime) -> None:
    """Give back part or all of a reservation's order: on the order while it is not invoiced, else on its invoice.

    Works by the order alone: the account that placed it may be erased.
    """
    order = await session.get(Order, order_id, with_for_update=True)
    if order is None or refund_minor <= 0:
        return
    if order.state is OrderState.DUE:
        _take_back(order, refund_minor)
        return
    invoice = await find_invoice(session, order_id)
    if invoice is None:
        return
    claim = await lock_claim(session, invoice.id)
    # What was credited before, as goodwill, is not given back twice.
    amount = min(refund_minor, invoice.total_minor - total_of(_lines(await _notes_of(session, invoice))))
    if amount > 0:
        await _credit(session, invoice, claim, amount_minor=amount, reason=CreditReason.CANCELLATION, now=now)


def _take_back(order: Order, refund_minor: int) -> None:
    """Reduce a reservation's one line to the fee that a late cancellation costs; without a fee nothing is ordered."""
    fee_minor = total_of(order.lines) - refund_minor
    if fee_minor > 0:
        order.lines = [{**order.lines[0], "unit_minor": fee_minor}]
    else:
        order.state = OrderState.CANCELLED
    order.version += 1


async def issue_credit_note(
    session: AsyncSession, invoice: Document, *, amount_minor: int, reason: CreditReason, now: datetime
) -> Document:
    """Credit part or all of an invoice, to the party and under the names that the invoice has.

    Raises CreditExceedsInvoice beyond what earlier credit notes have left.
    """
    claim = await lock_claim(session, invoice.id)
    return await _credit(session, invoice, claim, amount_minor=amount_minor, reason=reason, now=now)


async def _credit(
    session: AsyncSession, invoice: Document, claim: Claim, *, amount_minor: int, reason: CreditReason, now: datetime
) -> Document:
    content = _content(invoice, await _notes_of(session, invoice), amount_minor=amount_minor, reason=reason)
    account_id = await find_account_id(session, invoice.party_id)
    today = await local_day(session, now)
    note = await finalize(session, content, invoice.buyer or {}, today=today, now=now)
    await _give_back(session, claim, note)
    event = CreditNoteIssued(
        tenant_id=note.tenant_id,
        credit_note_id=note.id,
        invoice_id=invoice.id,
        account_id=account_id,
        total_minor=note.total_minor,
        currency=note.currency,
    )
    await publish(session, event)
    return note


def _content(
    invoice: Document, earlier: Sequence[Document], *, amount_minor: int, reason: CreditReason
) -> dict[str, Any]:
    left = left_of(invoice.lines, _lines(earlier))
    if not 0 < amount_minor <= left.total():
        raise CreditExceedsInvoice(remainder_minor=left.total())
    if amount_minor == invoice.total_minor:
        lines = lines_of_whole(invoice.lines, reason=reason)
    else:
        text = words_of(invoice.language)["reasons"][reason]
        lines = lines_of_part(amount_minor, left, reason=reason, text=text)
    return {
        "kind": DocumentKind.CREDIT_NOTE,
        "party_id": invoice.party_id,
        "order_id": invoice.order_id,
        "invoice_id": invoice.id,
        "language": invoice.language,
        "currency": invoice.currency,
        "lines": lines,
        "vat": vat_of_more(lines, [rate for note in earlier for rate in note.vat]),
        "seller": invoice.seller,
    }


async def _notes_of(session: AsyncSession, invoice: Document) -> Sequence[Document]:
    """Return an invoice's credit notes so far, as they were issued; its claim is locked, so that none comes in between."""
    of_invoice = select(Document).where(Document.invoice_id == invoice.id).order_by(Document.year, Document.number)
    return (await session.execute(of_invoice)).scalars().all()


def _lines(notes: Sequence[Document]) -> list[dict[str, Any]]:
    return [line for note in notes for line in note.lines]


async def _give_back(session: AsyncSession, claim: Claim, note: Document) -> None:
    """A credit lowers what is still owed; what was paid already becomes a refund due."""
    refund_minor = max(note.total_minor - max(claim.open_minor, 0), 0)
    await settle(session, claim, note.total_minor - refund_minor, on=note.issued_on)
    if refund_minor:
        row = {"tenant_id": note.tenant_id, "credit_note_id": note.id, "amount_minor": refund_minor}
        await session.execute(insert(Refund).values(row))


async def list_refunds(
    session: AsyncSession, *, due_only: bool, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Refund]:
    """Return up to `limit + 1` refunds, oldest first, after a credit note's id."""
    statement = select(Refund).order_by(Refund.credit_note_id).limit(limit + 1)
    if due_only:
        statement = statement.where(Refund.paid_on.is_(None))
    if after is not None:
        statement = statement.where(Refund.credit_note_id > after[0])
    return (await session.execute(statement)).scalars().all()


async def pay_refund(session: AsyncSession, credit_note_id: UUID, *, paid_on: date) -> Refund:
    """Note that a refund was paid out. Raises RefundNotFound, and RefundPaid when that was on another day."""
    refund = await session.get(Refund, credit_note_id, with_for_update=True)
    if refund is None:
        raise RefundNotFound
    if refund.paid_on not in (None, paid_on):
        raise RefundPaid
    refund.paid_on = paid_on
    await session.flush()
    return refund
