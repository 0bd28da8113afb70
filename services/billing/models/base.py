"""What billing's tables share."""

from enum import StrEnum
from typing import Any

from sqlalchemy import Enum
from sqlalchemy.orm import DeclarativeBase

from shared.db import TYPES, service_metadata
from shared.privacy.marks import Export, Via


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


# Documents know a party, never an account; this one table joins the two, and its row goes at erasure.
OF_BUYER = Via("account_parties", "party_id", "account_id")
BILLING: dict[str, Any] = {"export": Export.PORTABLE, "purpose": "invoicing", "basis": "contract", "keep": "account"}
LEGAL: dict[str, Any] = {
    "export": Export.ACCESS,
    "purpose": "accounting",
    "basis": "legal_obligation",
    "keep": "10 years after the financial year",
}
# The month in which the space's financial year closes, as its seller says now. Row security admits one seller.
CLOSING_MONTH = "coalesce((SELECT (details ->> 'closing_month')::integer FROM sellers), 12)"


def names_of(enum: type[StrEnum]) -> Enum:
    """Return a column type that stores an enum's values."""
    return Enum(enum, native_enum=False, length=32, values_callable=lambda e: [member.value for member in e])
