"""Buying from the price list: an order and, where nothing is missing, its invoice in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.documents import find_invoice
from services.billing.actions.grounds import Grounds, Ordered, grounds_of_account
from services.billing.actions.invoices import invoice_order
from services.billing.actions.orders import get_order, place_order
from services.billing.actions.parties import ensure_party
from services.billing.actions.prices import priced_lines
from services.billing.models import Order, OrderOrigin, OrderState
from shared.db import tenant_of, uuid7

# Its parameters are the columns of the invoice, which is written by the same statement.
_PLACE_ORDER = """placed AS (
 INSERT INTO orders (id, tenant_id, party_id, origin, state, currency, lines, created_at, version)
 VALUES (:order_id, :tenant_id, :party_id, 'purchase', 'invoiced', :currency, CAST(:lines AS jsonb), :finalized_at, 1))"""
# A name to print and the language to print in, as identity knows them.
Contact = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order and its invoice's id, None until the job issues it."""

    order: Order
    invoice_id: UUID | None


async def buy(
    session: AsyncSession,
    account_id: UUID,
    wanted: Sequence[dict[str, Any]],
    *,
    contact: Contact | None,
    now: datetime,
) -> Purchase:
    """Order [{price_id, quantity}] at today's prices and invoice it at once.

    Without `contact` (identity does not answer) or a seller the order is left to the job that invoices what is due.
    Raises PriceNotFound, MixedCurrencies or AmountTooLarge; the tombstone trigger refuses an erased account.
    """
    currency, lines = await priced_lines(session, wanted)
    grounds = await grounds_of_account(session, account_id)
    if grounds.party_id is None:
        grounds = replace(grounds, account_id=account_id, party_id=await ensure_party(session, account_id))
    if contact is None or grounds.seller is None:
        order = await place_order(session, account_id, origin=OrderOrigin.PURCHASE, currency=currency, lines=lines)
        assert order is not None, "a fresh id is nobody else's"
        return Purchase(order, None)
    return await _buy_and_invoice(session, grounds, currency, lines, contact=contact, now=now)


async def _buy_and_invoice(
    session: AsyncSession,
    grounds: Grounds,
    currency: str,
    lines: list[dict[str, Any]],
    *,
    contact: Contact,
    now: datetime,
) -> Purchase:
    assert grounds.party_id is not None
    name, language = contact
    ordered = Ordered(uuid7(), OrderState.INVOICED, grounds.party_id, currency, lines)
    invoice = await invoice_order(session, ordered, grounds, _PLACE_ORDER, name=name, language=language, now=now)
    order = Order(
        id=ordered.id,
        tenant_id=tenant_of(session),
        party_id=ordered.party_id,
        origin=OrderOrigin.PURCHASE,
        state=OrderState.INVOICED,
        currency=currency,
        lines=lines,
        created_at=now,
        version=1,
    )
    return Purchase(order, invoice.id)


async def get_purchase(session: AsyncSession, order_id: UUID, *, party_id: UUID | None) -> Purchase:
    """Return an order with its invoice's id; with `party_id`, only that party's. Raises OrderNotFound."""
    order = await get_order(session, order_id, party_id=party_id)
    invoice = await find_invoice(session, order.id)
    return Purchase(order, invoice.id if invoice else None)
