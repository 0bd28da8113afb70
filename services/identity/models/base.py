"""What identity's tables share: one metadata, one way to store an enum, one way to say "of the account"."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Enum, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, service_metadata
from shared.privacy.marks import Erase, Export, person_ref, personal


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


def stored(kind: type[StrEnum]) -> Enum:
    """Store an enum as checked text: a new member needs no ALTER TYPE."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=False,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )


def account_key() -> Mapped[UUID]:
    """The account that owns the row, as primary key."""
    owner = ForeignKey("accounts.id", ondelete="CASCADE")
    return mapped_column(owner, primary_key=True, info=person_ref(erase=Erase.DELETE_ROW))


def account_column() -> Mapped[UUID]:
    """The account that owns the row."""
    owner = ForeignKey("accounts.id", ondelete="CASCADE")
    return mapped_column(owner, info=person_ref(erase=Erase.DELETE_ROW))


def own(
    category: str, *, export: Export = Export.ACCESS, basis: str = "contract", keep: str = "account"
) -> dict[str, Any]:
    """Mark a personal column of a row that goes with its account."""
    purpose = "security" if category.startswith("security.") else "account"
    return personal(category, erase=Erase.DELETE_ROW, export=export, purpose=purpose, basis=basis, keep=keep)
