"""What was offered and agreed: price list, quotes, orders. Amounts are minor units, VAT included."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.billing.models.base import CLOSING_MONTH, LEGAL, OF_BUYER, Base, names_of
from shared.db import TenantRow, uuid7
from shared.privacy.marks import (
    QUEUE,
    Erase,
    Retention,
    Row,
    Sweep,
    no_subject,
    not_personal,
    person_ref,
    personal,
    subject,
)

# What was accepted is kept like the invoice it led to: ten years from the close of the financial year of its acceptance.
# While the version before still runs beside this one, it accepts quotes without saying when.
KEPT_UNTIL = f"kept_until(coalesce(accepted_on, issued_on), {CLOSING_MONTH})"


class OrderOrigin(StrEnum):
    PURCHASE = "purchase"
    RESERVATION = "reservation"
    QUOTE = "quote"


class Nature(StrEnum):
    """What a line sells (the nature of the operation, a required mention)."""

    SERVICES = "services"
    GOODS = "goods"


class OrderState(StrEnum):
    DUE = "due"  # executed, to be invoiced
    INVOICED = "invoiced"
    CANCELLED = "cancelled"


class QuoteState(StrEnum):
    ISSUED = "issued"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    REPLACED = "replaced"  # by a later revision under the same number


class Price(TenantRow, Base):
    __tablename__ = "prices"
    __table_args__ = (
        CheckConstraint("price_minor >= 0 AND vat_rate_bp BETWEEN 0 AND 10000", name="amount"),
        {"info": no_subject("the price list")},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    name: Mapped[str] = mapped_column(info=not_personal("name of a product"))
    price_minor: Mapped[int] = mapped_column(info=not_personal("amount"))
    currency: Mapped[str] = mapped_column(default="EUR", info=not_personal("ISO 4217"))
    vat_rate_bp: Mapped[int] = mapped_column(default=2000, info=not_personal("basis points"))
    nature: Mapped[Nature] = mapped_column(
        names_of(Nature), default=Nature.SERVICES, server_default="services", info=not_personal("enum")
    )
    is_offered: Mapped[bool] = mapped_column(default=True, info=not_personal("flag"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Order(TenantRow, Base):
    """What a party owes a document for; `lines` are [{text, quantity, unit_minor, vat_rate_bp, nature}]."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders_due", "tenant_id", "created_at", postgresql_where=text("state = 'due'"), info=QUEUE),
        Index("ix_orders_list", "tenant_id", "created_at", "id"),
        {"info": subject("party_id", row=Row.KEEP, via=OF_BUYER)},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    party_id: Mapped[UUID] = mapped_column(index=True, info=not_personal("billing's own id"))
    origin: Mapped[OrderOrigin] = mapped_column(names_of(OrderOrigin), info=not_personal("enum"))
    state: Mapped[OrderState] = mapped_column(names_of(OrderState), info=not_personal("enum"))
    currency: Mapped[str] = mapped_column(info=not_personal("ISO 4217"))
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=not_personal("products, quantities, amounts"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Quote(TenantRow, Base):
    """An offer to a member; a revision keeps its number.

    Kept three years when nothing came of it, and not less than the documents of its order when it was accepted.
    """

    __tablename__ = "quotes"
    __table_args__ = (
        UniqueConstraint("tenant_id", "year", "number", "revision"),
        CheckConstraint("accepted_on IS NULL OR state = 'accepted'", name="acceptance"),
        {
            "info": subject(
                "party_id",
                row=Row.RETAIN,
                via=OF_BUYER,
                guard=False,
                retention=Retention(
                    ground="legal_archive",
                    article="Code de commerce L123-22",
                    until=f"CASE WHEN state = 'accepted' THEN {KEPT_UNTIL}"
                    " ELSE (issued_on + interval '3 years')::date END",
                ),
                sweep=Sweep(
                    "3 years if not accepted, 10 years after the financial year if accepted",
                    "(state <> 'accepted' AND issued_on < CAST(:now AS date) - interval '3 years')"
                    f" OR (state = 'accepted' AND {KEPT_UNTIL} < CAST(:now AS date)"
                    " AND NOT EXISTS (SELECT FROM documents d WHERE d.order_id = quotes.order_id AND d.buyer IS NOT NULL))",
                ),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    party_id: Mapped[UUID] = mapped_column(index=True, info=not_personal("billing's own id"))
    number: Mapped[int] = mapped_column(info=not_personal("number of the series"))
    year: Mapped[int] = mapped_column(info=not_personal("year of the series"))
    revision: Mapped[int] = mapped_column(default=1, server_default="1", info=not_personal("number"))
    issued_on: Mapped[date] = mapped_column(info=not_personal("date"))
    valid_until: Mapped[date] = mapped_column(info=not_personal("date"))
    state: Mapped[QuoteState] = mapped_column(names_of(QuoteState), info=not_personal("enum"))
    accepted_on: Mapped[date | None] = mapped_column(info=not_personal("date"))
    currency: Mapped[str] = mapped_column(info=not_personal("ISO 4217"))
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=not_personal("products, quantities, amounts"))
    total_minor: Mapped[int] = mapped_column(info=not_personal("amount"))
    buyer: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), info=personal("identity.name", erase=Erase.RETAIN, **LEGAL)
    )
    order_id: Mapped[UUID | None] = mapped_column(info=not_personal("own order"))
    issued_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))
