"""What billing accepts and returns. Amounts are integer minor units, VAT included."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from services.billing.models import DocumentKind, OrderOrigin, OrderState, QuoteState
from shared.http import In, Out

Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]


class AddressIn(In):
    """A private billing address; asked for only when something is bought privately."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "A. Member",
                "street": "1 rue de la Paix",
                "postcode": "75002",
                "city": "Paris",
                "country": "FR",
            }
        }
    )

    name: Line
    street: Line
    postcode: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    city: Line
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]


class AddressOut(Out):
    name: str
    street: str
    postcode: str
    city: str
    country: str


class SellerIn(In):
    """The operator as its invoices must name it."""

    legal_name: Line
    street: Line
    postcode: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    city: Line
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] = "FR"
    siren: Annotated[str, StringConstraints(pattern=r"^\d{9}$")] | None = None
    vat_id: Annotated[str, StringConstraints(max_length=20)] | None = None
    iban: Annotated[str, StringConstraints(max_length=42)] | None = None
    email: Annotated[str, StringConstraints(max_length=200)] | None = None
    late_penalty_rate: Annotated[str, StringConstraints(max_length=20)] = "10 %"


class PriceIn(In):
    name: Line
    price_minor: int = Field(ge=0, le=100_000_000)
    currency: Currency = "EUR"
    vat_rate_bp: int = Field(2000, ge=0, le=10_000, description="basis points: 2000 = 20 %")


class PricePatch(In):
    name: Line | None = None
    price_minor: int | None = Field(None, ge=0, le=100_000_000)
    is_offered: bool | None = None


class PriceOut(Out):
    id: UUID
    name: str
    price_minor: int
    currency: str
    vat_rate_bp: int


class WantedIn(In):
    price_id: UUID
    quantity: int = Field(1, ge=1, le=10_000)


class OrderIn(In):
    lines: list[WantedIn] = Field(min_length=1, max_length=100)


class LineOut(Out):
    text: str
    quantity: int
    unit_minor: int
    vat_rate_bp: int


class OrderOut(Out):
    id: UUID
    origin: OrderOrigin
    state: OrderState
    currency: str
    lines: list[LineOut]
    created_at: datetime


class QuoteIn(In):
    account_id: UUID
    lines: list[WantedIn] = Field(min_length=1, max_length=100)


class QuoteAnswerIn(In):
    accept: bool


class QuoteOut(Out):
    id: UUID
    number: str
    state: QuoteState
    issued_on: date
    valid_until: date
    currency: str
    lines: list[LineOut]
    total_minor: int
    order_id: UUID | None


class VatOut(Out):
    rate_bp: int
    base_minor: int
    vat_minor: int
    gross_minor: int


class DocumentOut(Out):
    """An invoice or credit note; `open_minor` is what is still owed on an invoice."""

    id: UUID
    kind: DocumentKind
    number: str
    order_id: UUID
    invoice_id: UUID | None
    issued_on: date
    due_on: date
    currency: str
    lines: list[LineOut]
    vat: list[VatOut]
    total_minor: int
    buyer: dict[str, str] | None
    open_minor: int | None
    settled_on: date | None


class PaymentIn(In):
    amount_minor: int = Field(ge=1, le=1_000_000_000)
    method: Annotated[str, StringConstraints(pattern="^(transfer|desk|card)$")]
    received_on: date
    note: Annotated[str, StringConstraints(max_length=300)] | None = None


class PaymentOut(Out):
    id: UUID
    invoice_id: UUID
    amount_minor: int
    method: str
    received_on: date


class CreditIn(In):
    amount_minor: int = Field(ge=1, le=1_000_000_000)
    reason: Line


class ChainOut(Out):
    checked: int
    broken_at: str | None
