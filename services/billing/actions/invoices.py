"""Issuing the invoice of an executed order."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.documents import finalize, find_invoice
from services.billing.actions.grounds import Grounds, Ordered, lock_order
from services.billing.errors import SellerUnknown
from services.billing.models import Document, DocumentKind, OrderState
from services.billing.vat import vat_of
from shared.bus import publish
from shared.events.billing import InvoiceIssued

PAYABLE_WITHIN = timedelta(days=30)
# Written by the statement that writes the invoice; its columns are the parameters.
CLOSE_ORDER = "closed AS (UPDATE orders SET state = 'invoiced', version = version + 1 WHERE id = :order_id)"
# Nothing is owed on what was free, so nothing stays open.
_CLAIM = """claimed AS (
 INSERT INTO claims (tenant_id, invoice_id, party_id, open_minor, settled_on, version)
 VALUES (:tenant_id, :id, :party_id, :total_minor,
  CASE WHEN CAST(:total_minor AS integer) = 0 THEN CAST(:issued_on AS date) END, 1))"""


async def issue_invoice(
    session: AsyncSession, order_id: UUID, *, name: str, language: str, now: datetime
) -> Document | None:
    """Number and freeze an order's invoice; a second call returns the first invoice, None for a cancelled order.

    Amounts are integer minor units of the order's currency, VAT included; VAT is rounded once per rate. The number
    is the next of the tenant's yearly series, without gaps. `name` stands for a buyer without a billing address.
    Raises SellerUnknown.
    """
    found = await lock_order(session, order_id)
    if found is None or found[0].state != OrderState.DUE:
        return await find_invoice(session, order_id)
    order, grounds = found
    return await invoice_order(session, order, grounds, CLOSE_ORDER, name=name, language=language, now=now)


async def invoice_order(
    session: AsyncSession,
    order: Ordered,
    grounds: Grounds,
    written: str,
    *,
    name: str,
    language: str,
    now: datetime,
) -> Document:
    """Issue an order's invoice by the statement that also writes the order (`written`). Raises SellerUnknown."""
    if grounds.seller is None:
        raise SellerUnknown
    content = {
        "kind": DocumentKind.INVOICE,
        "party_id": order.party_id,
        "order_id": order.id,
        "invoice_id": None,
        "language": language,
        "currency": order.currency,
        "lines": order.lines,
        "vat": vat_of(order.lines),
        "seller": grounds.seller,
    }
    invoice = await finalize(
        session,
        content,
        grounds.buyer(fallback_name=name),
        today=grounds.today(now),
        now=now,
        due_in=PAYABLE_WITHIN,
        together=(written, _CLAIM),
    )
    await publish(session, _issued(invoice, account_id=grounds.account_id))
    return invoice


def _issued(invoice: Document, *, account_id: UUID | None) -> InvoiceIssued:
    return InvoiceIssued(
        tenant_id=invoice.tenant_id,
        invoice_id=invoice.id,
        order_id=invoice.order_id,
        account_id=account_id,
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        due_on=invoice.due_on,
    )
