"""Orders: executed at once, invoiced by the job that follows."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.parties import ensure_party
from services.billing.errors import OrderNotFound
from services.billing.models import Order, OrderOrigin, OrderState
from shared.db import tenant_of, uuid7


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
    """Return an order; with `party_id`, only that party's. Raises OrderNotFound."""
    order = await session.get(Order, order_id)
    if order is None or (party_id is not None and order.party_id != party_id):
        raise OrderNotFound
    return order


async def list_orders(
    session: AsyncSession, *, party_id: UUID | None, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Order]:
    """Return up to `limit + 1` orders, newest first, after (created_at, id)."""
    statement = select(Order).order_by(Order.created_at.desc(), Order.id.desc()).limit(limit + 1)
    if party_id is not None:
        statement = statement.where(Order.party_id == party_id)
    if after is not None:
        statement = statement.where(tuple_(Order.created_at, Order.id) < after)
    return (await session.execute(statement)).scalars().all()


async def due_orders(session: AsyncSession, *, limit: int) -> Sequence[Order]:
    """Return executed orders without an invoice, oldest first."""
    statement = select(Order).where(Order.state == OrderState.DUE).order_by(Order.created_at).limit(limit)
    return (await session.execute(statement)).scalars().all()
