"""Price list, orders and quotes: what leads to an invoice."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.invoices import find_invoice, issue_credit_note, remainder_of
from services.billing.actions.parties import buyer_of, ensure_party
from services.billing.errors import OrderNotFound, PriceNotFound, QuoteAnswered, QuoteExpired, QuoteNotFound
from services.billing.models import Order, OrderOrigin, OrderState, Price, Quote, QuoteState
from services.billing.numbering import take_number
from services.billing.vat import total_of
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.billing import QuoteIssued
from shared.http import check_match

QUOTE_DAYS = 30


async def add_price(session: AsyncSession, **fields: Any) -> Price:
    price = Price(tenant_id=tenant_of(session), **fields)
    session.add(price)
    await session.flush()
    return price


async def list_prices(session: AsyncSession) -> Sequence[Price]:
    """Return what is on offer, by name (a space has a short list)."""
    offered = select(Price).where(Price.is_offered).order_by(Price.name, Price.id)
    return (await session.execute(offered)).scalars().all()


async def change_price(
    session: AsyncSession, price_id: UUID, *, changes: dict[str, Any], if_match: str | None
) -> Price:
    price = await session.get(Price, price_id)
    if price is None:
        raise PriceNotFound
    check_match(if_match, price.version)
    for name, value in changes.items():
        setattr(price, name, value)
    price.version += 1
    await session.flush()
    return price


async def priced_lines(session: AsyncSession, wanted: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Turn [{price_id, quantity}] into (currency, order lines) at today's prices. Raises PriceNotFound."""
    found = select(Price).where(Price.id.in_([one["price_id"] for one in wanted]), Price.is_offered)
    prices = {price.id: price for price in (await session.execute(found)).scalars()}
    if {one["price_id"] for one in wanted} - prices.keys() or len({p.currency for p in prices.values()}) != 1:
        raise PriceNotFound
    lines = [
        {
            "text": prices[one["price_id"]].name,
            "quantity": one["quantity"],
            "unit_minor": prices[one["price_id"]].price_minor,
            "vat_rate_bp": prices[one["price_id"]].vat_rate_bp,
        }
        for one in wanted
    ]
    return next(iter(prices.values())).currency, lines


async def place_order(
    session: AsyncSession,
    account_id: UUID,
    *,
    origin: OrderOrigin,
    currency: str,
    lines: list[dict[str, Any]],
    order_id: UUID | None = None,
) -> Order | None:
    """Place an executed order for an account's party; None when `order_id` exists already."""
    row = {
        "id": order_id or uuid7(),
        "tenant_id": tenant_of(session),
        "party_id": await ensure_party(session, account_id),
        "origin": origin,
        "state": OrderState.DUE,
        "currency": currency,
        "lines": lines,
        "version": 1,
    }
    statement = upsert(Order).values(row).on_conflict_do_nothing().returning(Order)
    return (await session.execute(statement)).scalar_one_or_none()


async def get_order(session: AsyncSession, order_id: UUID, *, party_id: UUID | None) -> Order:
    """Raises OrderNotFound."""
    order = await session.get(Order, order_id)
    if order is None or order.party_id != party_id:
        raise OrderNotFound
    return order


async def credit_order(session: AsyncSession, order_id: UUID, *, refund_minor: int, now: datetime) -> None:
    """Take back what was ordered: cancel it if it is not invoiced yet, else credit its invoice.

    Works by the order alone: the account that placed it may be erased.
    """
    order = await session.get(Order, order_id, with_for_update=True)
    if order is None or refund_minor <= 0:
        return
    if order.state is OrderState.DUE:
        order.state = OrderState.CANCELLED
        order.version += 1
        return
    invoice = await find_invoice(session, order_id)
    # What was credited before, as goodwill, is not given back twice.
    amount = 0 if invoice is None else min(refund_minor, await remainder_of(session, invoice))
    if invoice is not None and amount > 0:
        await issue_credit_note(session, invoice, amount_minor=amount, reason="Annulation / Cancellation", now=now)


async def issue_quote(
    session: AsyncSession,
    account_id: UUID,
    *,
    issued_by: UUID,
    currency: str,
    lines: list[dict[str, Any]],
    buyer_name: str,
    now: datetime,
) -> Quote:
    """Offer something to a member: numbered, valid QUOTE_DAYS."""
    party_id = await ensure_party(session, account_id)
    taken = await take_number(session, kind="quote", year=now.year)
    valid_until = now.date() + timedelta(days=QUOTE_DAYS)
    row = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "party_id": party_id,
        "number": taken.number,
        "year": now.year,
        "issued_on": now.date(),
        "valid_until": valid_until,
        "state": QuoteState.ISSUED,
        "currency": currency,
        "lines": lines,
        "total_minor": total_of(lines),
        "buyer": await buyer_of(session, party_id, fallback_name=buyer_name),
        "issued_by": issued_by,
        "version": 1,
    }
    quote = (await session.execute(insert(Quote).values(row).returning(Quote))).scalar_one()
    await publish(session, _issued(quote, account_id))
    return quote


def _issued(quote: Quote, account_id: UUID) -> QuoteIssued:
    return QuoteIssued(
        tenant_id=quote.tenant_id,
        quote_id=quote.id,
        account_id=account_id,
        total_minor=quote.total_minor,
        currency=quote.currency,
        valid_until=quote.valid_until,
    )


async def get_quote(session: AsyncSession, quote_id: UUID, *, party_id: UUID | None, is_staff: bool = False) -> Quote:
    """Raises QuoteNotFound, also for somebody else's."""
    quote = await session.get(Quote, quote_id, with_for_update=True)
    if quote is None or not (is_staff or quote.party_id == party_id):
        raise QuoteNotFound
    return quote


async def list_quotes(session: AsyncSession, *, party_id: UUID | None, limit: int) -> Sequence[Quote]:
    """Return the newest quotes, of one party or of all."""
    statement = select(Quote).order_by(Quote.year.desc(), Quote.number.desc()).limit(limit)
    if party_id is not None:
        statement = statement.where(Quote.party_id == party_id)
    return (await session.execute(statement)).scalars().all()


async def answer_quote(
    session: AsyncSession, account_id: UUID, quote: Quote, *, accept: bool, if_match: str | None, today: date
) -> Quote:
    """Accept (which orders) or decline. Raises QuoteAnswered or QuoteExpired."""
    check_match(if_match, quote.version)
    if quote.state is not QuoteState.ISSUED:
        raise QuoteAnswered
    if today > quote.valid_until:
        raise QuoteExpired
    quote.state = QuoteState.ACCEPTED if accept else QuoteState.DECLINED
    quote.version += 1
    if accept:
        order = await place_order(
            session, account_id, origin=OrderOrigin.QUOTE, currency=quote.currency, lines=quote.lines
        )
        quote.order_id = order.id if order else None
    await session.flush()
    return quote


async def due_orders(session: AsyncSession, *, limit: int) -> Sequence[Order]:
    """Return executed orders without an invoice, oldest first."""
    statement = select(Order).where(Order.state == OrderState.DUE).order_by(Order.created_at).limit(limit)
    return (await session.execute(statement)).scalars().all()
