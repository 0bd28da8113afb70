"""Who sells and who buys."""

from typing import Any
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.billing.models.base import BILLING, OF_BUYER, Base
from shared.db import TenantRow, uuid7
from shared.privacy.marks import Erase, Row, no_subject, not_personal, person_ref, personal, subject


class Seller(TenantRow, Base):
    """The operator as its documents name it (CGI ann. II art. 242 nonies A), and when its financial year closes."""

    __tablename__ = "sellers"
    __table_args__ = (UniqueConstraint("tenant_id"), {"info": no_subject("the operator, an organisation")})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    details: Mapped[dict[str, Any]] = mapped_column(
        JSONB, info=not_personal("an organisation's name, address, numbers")
    )
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Party(TenantRow, Base):
    """A buyer under billing's own id, with the private billing address as long as the buyer wants it kept."""

    __tablename__ = "parties"
    __table_args__ = ({"info": subject("id", row=Row.DELETE, via=OF_BUYER)},)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("billing's own id"))
    name: Mapped[str | None] = mapped_column(info=personal("identity.name", erase=Erase.DELETE_ROW, **BILLING))
    street: Mapped[str | None] = mapped_column(info=personal("contact.address", erase=Erase.DELETE_ROW, **BILLING))
    postcode: Mapped[str | None] = mapped_column(info=personal("contact.address", erase=Erase.DELETE_ROW, **BILLING))
    city: Mapped[str | None] = mapped_column(info=personal("contact.address", erase=Erase.DELETE_ROW, **BILLING))
    country: Mapped[str | None] = mapped_column(info=personal("contact.address", erase=Erase.DELETE_ROW, **BILLING))
    siren: Mapped[str | None] = mapped_column(info=personal("identity.business", erase=Erase.DELETE_ROW, **BILLING))
    vat_id: Mapped[str | None] = mapped_column(info=personal("identity.business", erase=Erase.DELETE_ROW, **BILLING))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class AccountParty(TenantRow, Base):
    """The one place where an account meets its party."""

    __tablename__ = "account_parties"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    account_id: Mapped[UUID] = mapped_column(primary_key=True, info=person_ref(erase=Erase.DELETE_ROW))
    party_id: Mapped[UUID] = mapped_column(unique=True, info=not_personal("billing's own id"))
