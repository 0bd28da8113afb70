"""What a document rests on besides its lines: who sells, who buys, and the space's clock."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.parties import ADDRESS
from shared.db import tenant_of

_COLUMNS = (
    f"t.time_zone, s.details, ap.account_id, ap.party_id AS known_party_id, {', '.join(f'p.{n}' for n in ADDRESS)}"
)
_BUYER_AND_SELLER = """
LEFT JOIN parties p ON p.id = ap.party_id LEFT JOIN sellers s ON true JOIN tenants t ON t.tenant_id = :tenant
"""
_OF_ACCOUNT = text(
    f"SELECT {_COLUMNS} FROM (SELECT CAST(:account AS uuid) AS id) buyer"  # noqa: S608 (constants)
    f" LEFT JOIN account_parties ap ON ap.account_id = buyer.id {_BUYER_AND_SELLER}"
)
_OF_ORDER = text(
    f"SELECT o.state, o.party_id, o.currency, o.lines, {_COLUMNS} FROM orders o"  # noqa: S608 (constants)
    f" LEFT JOIN account_parties ap ON ap.party_id = o.party_id {_BUYER_AND_SELLER} WHERE o.id = :order FOR UPDATE OF o"
)


@dataclass(frozen=True, slots=True)
class Grounds:
    """`account_id` is None once it is erased, `party_id` before a first order; `address` is empty unless given."""

    account_id: UUID | None
    party_id: UUID | None
    address: dict[str, Any]
    seller: dict[str, Any] | None
    zone: ZoneInfo

    @classmethod
    def of(cls, row: Row[Any]) -> "Grounds":
        address = {name: getattr(row, name) for name in ADDRESS if getattr(row, name)} if row.name else {}
        return cls(row.account_id, row.known_party_id, address, row.details, ZoneInfo(row.time_zone))

    def today(self, now: datetime) -> date:
        """Return which day it is in the space at `now`."""
        return now.astimezone(self.zone).date()

    def buyer(self, *, fallback_name: str) -> dict[str, Any]:
        """Return the personal block of a document: the party's name and address, or the name that identity gave."""
        return self.address or {"name": fallback_name}


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an order says, with `state` as stored."""

    id: UUID
    state: str
    party_id: UUID
    currency: str
    lines: list[dict[str, Any]]


async def grounds_of_account(session: AsyncSession, account_id: UUID) -> Grounds:
    """Return what an order of an account rests on."""
    parameters = {"account": account_id, "tenant": tenant_of(session)}
    return Grounds.of((await session.execute(_OF_ACCOUNT, parameters)).one())


async def lock_order(session: AsyncSession, order_id: UUID) -> tuple[Ordered, Grounds] | None:
    """Return an order, locked until the transaction ends, and what its invoice rests on; one statement."""
    parameters = {"order": order_id, "tenant": tenant_of(session)}
    row = (await session.execute(_OF_ORDER, parameters)).one_or_none()
    if row is None:
        return None
    order = Ordered(order_id, row.state, row.party_id, row.currency, row.lines)
    return order, Grounds.of(row)
