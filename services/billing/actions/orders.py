"""Orders: executed at once; what is not invoiced with its purchase is invoiced by the job that follows."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.parties import ensure_party
from services.billing.errors import OrderNotFound
from services.billing.models import Document, DocumentKind, Order, OrderOrigin, OrderState
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
) -> Sequence[tuple[Order, UUID | None]]:
    """Return up to `limit + 1` orders with their invoices' ids, newest first, after (created_at, id)."""
    is_invoice = and_(Document.order_id == Order.id, Document.kind == DocumentKind.INVOICE)
    statement = select(Order, Document.id).join(Document, is_invoice, isouter=True).limit(limit + 1)
    statement = statement.order_by(Order.created_at.desc(), Order.id.desc())
    if party_id is not None:
        statement = statement.where(Order.party_id == party_id)
    if after is not None:
        statement = statement.where(tuple_(Order.created_at, Order.id) < after)
    return (await session.execute(statement)).tuples().all()


async def due_orders(session: AsyncSession, *, limit: int) -> Sequence[Order]:
    """Return executed orders without an invoice, oldest first."""
    statement = select(Order).where(Order.state == OrderState.DUE).order_by(Order.created_at).limit(limit)
    return (await session.execute(statement)).scalars().all()
