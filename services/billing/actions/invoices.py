"""Issuing the invoice of an executed order."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.documents import finalize, find_invoice
from services.billing.actions.parties import find_account_id, get_seller
from services.billing.models import Claim, Document, DocumentKind, Order, OrderState
from shared.bus import publish
from shared.events.billing import InvoiceIssued

PAYABLE_WITHIN = timedelta(days=30)


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
        "language": language,
        "currency": order.currency,
        "lines": order.lines,
        "seller": seller.details,
    }
    account_id = await find_account_id(session, order.party_id)
    order.state = OrderState.INVOICED
    order.version += 1
    await session.flush()
    invoice = await finalize(session, content, buyer, now=now, due_in=PAYABLE_WITHIN)
    await _claim(session, invoice)
    event = InvoiceIssued(
        tenant_id=invoice.tenant_id,
        invoice_id=invoice.id,
        order_id=order.id,
        account_id=account_id,
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        due_on=invoice.due_on,
    )
    await publish(session, event)
    return invoice


async def _claim(session: AsyncSession, invoice: Document) -> None:
    row = {
        "tenant_id": invoice.tenant_id,
        "invoice_id": invoice.id,
        "party_id": invoice.party_id,
        "open_minor": invoice.total_minor,
        # Nothing is owed on what was free, so nothing stays open.
        "settled_on": None if invoice.total_minor else invoice.issued_on,
        "version": 1,
    }
    await session.execute(insert(Claim).values(row))
