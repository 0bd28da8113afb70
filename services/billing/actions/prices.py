"""The price list, and what people want of it turned into lines at today's prices."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.errors import AmountTooLarge, MixedCurrencies, PriceNotFound
from services.billing.models import Price
from services.billing.vat import total_of
from shared.db import tenant_of
from shared.http import check_match

# Ten million of the currency: far above any order, and far below where a sum of amounts could overflow its column.
MAX_TOTAL_MINOR = 1_000_000_000


async def add_price(session: AsyncSession, **fields: Any) -> Price:
    price = Price(tenant_id=tenant_of(session), **fields)
    session.add(price)
    await session.flush()
    return price


async def get_price(session: AsyncSession, price_id: UUID, *, with_for_update: bool = False) -> Price:
    """Return a product, offered or withdrawn. Raises PriceNotFound."""
    price = await session.get(Price, price_id, with_for_update=with_for_update)
    if price is None:
        raise PriceNotFound
    return price


async def list_prices(session: AsyncSession, *, offered_only: bool = True) -> Sequence[Price]:
    """Return the price list by name (a space has a short one)."""
    statement = select(Price).order_by(Price.name, Price.id)
    if offered_only:
        statement = statement.where(Price.is_offered)
    return (await session.execute(statement)).scalars().all()


async def change_price(
    session: AsyncSession, price_id: UUID, *, changes: dict[str, Any], if_match: str | None
) -> Price:
    """Change a product; what was ordered or quoted keeps its price. Raises PriceNotFound."""
    price = await get_price(session, price_id, with_for_update=True)
    check_match(if_match, price.version)
    for name, value in changes.items():
        setattr(price, name, value)
    price.version += 1
    await session.flush()
    return price


async def priced_lines(session: AsyncSession, wanted: Sequence[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Turn [{price_id, quantity}] into (currency, lines) at today's prices.

    Raises PriceNotFound, MixedCurrencies or AmountTooLarge.
    """
    found = select(Price).where(Price.id.in_([one["price_id"] for one in wanted]), Price.is_offered)
    prices = {price.id: price for price in (await session.execute(found)).scalars()}
    if {one["price_id"] for one in wanted} - prices.keys():
        raise PriceNotFound
    currencies = {price.currency for price in prices.values()}
    if len(currencies) > 1:
        raise MixedCurrencies
    lines = [_line(prices[one["price_id"]], one["quantity"]) for one in wanted]
    if total_of(lines) > MAX_TOTAL_MINOR:
        raise AmountTooLarge(most_minor=MAX_TOTAL_MINOR)
    return currencies.pop(), lines


def _line(price: Price, quantity: int) -> dict[str, Any]:
    return {
        "text": price.name,
        "quantity": quantity,
        "unit_minor": price.price_minor,
        "vat_rate_bp": price.vat_rate_bp,
        "nature": price.nature,
    }
