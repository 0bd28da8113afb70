"""What billing accepts and returns. Amounts are integer minor units, VAT included."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from services.billing.models import CreditReason, DocumentKind, Nature, OrderOrigin, OrderState, QuoteState
from shared.http import In, Out

Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Siren = Annotated[str, StringConstraints(pattern=r"^\d{9}$")]
VatId = Annotated[str, StringConstraints(pattern="^[A-Z]{2}[0-9A-Z]{2,13}$")]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]


class AddressIn(In):
    """A private billing address; asked for only when something is bought privately. A business adds its numbers."""

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
    siren: Siren | None = None
    vat_id: VatId | None = None


class AddressOut(Out):
    name: str
    street: str
    postcode: str
    city: str
    country: str
    siren: str | None
    vat_id: str | None


class SellerIn(In):
    """The operator as its invoices must name it."""

    legal_name: Line
    street: Line
    postcode: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    city: Line
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] = "FR"
    registration: Line | None = Field(None, description="legal form, capital and register, as on letters")
    siren: Siren | None = None
    vat_id: Annotated[str, StringConstraints(max_length=20)] | None = None
    iban: Annotated[str, StringConstraints(max_length=42)] | None = None
    email: Annotated[str, StringConstraints(max_length=200)] | None = None
    late_penalty_rate: Annotated[str, StringConstraints(max_length=20)] = "10 %"
    vat_exemption: Line | None = Field(None, description="mention on documents with lines free of VAT")
    closing_month: int | None = Field(
        None,
        ge=1,
        le=12,
        description="month in which the financial year closes, December if left out: documents are kept for ten years from"
        " its close, and for the longer time where it has changed since they were issued",
    )


class SellerOut(Out):
    legal_name: str
    street: str
    postcode: str
    city: str
    country: str
    registration: str | None = None
    siren: str | None = None
    vat_id: str | None = None
    iban: str | None = None
    email: str | None = None
    late_penalty_rate: str
    vat_exemption: str | None = None
    closing_month: int | None = None


class PriceIn(In):
    name: Line
    price_minor: int = Field(ge=0, le=100_000_000)
    currency: Currency = "EUR"
    vat_rate_bp: int = Field(2000, ge=0, le=10_000, description="basis points: 2000 = 20 %")
    nature: Nature = Nature.SERVICES


class PricePatch(In):
    name: Line | None = None
    price_minor: int | None = Field(None, ge=0, le=100_000_000)
    vat_rate_bp: int | None = Field(None, ge=0, le=10_000)
    nature: Nature | None = None
    is_offered: bool | None = None


class PriceOut(Out):
    id: UUID
    name: str
    price_minor: int
    currency: str
    vat_rate_bp: int
    nature: Nature
    is_offered: bool


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
    invoice_id: UUID | None = Field(None, description="the document to print; None until the invoice is issued")


class RevisionIn(In):
    lines: list[WantedIn] = Field(min_length=1, max_length=100)
    valid_until: date | None = Field(None, description="last day of validity; 30 days from today if left out")


class QuoteIn(RevisionIn):
    account_id: UUID


class QuoteAnswerIn(In):
    accept: bool


class QuoteOut(Out):
    id: UUID
    number: str
    revision: int
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
    """An invoice or credit note; `open_minor` is what is still owed on an invoice, `reason` why a credit note was issued."""

    id: UUID
    kind: DocumentKind
    number: str
    order_id: UUID
    invoice_id: UUID | None
    reason: CreditReason | None
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
    note: Annotated[str, StringConstraints(max_length=300)] | None = Field(
        None,
        description="for staff and buyer; it goes with the buyer's account, and is refused (buyer_erased) once that is gone",
    )


class PaymentOut(Out):
    id: UUID
    invoice_id: UUID
    amount_minor: int
    method: str
    received_on: date
    note: str | None


class RefundPaymentIn(In):
    paid_on: date


class RefundOut(Out):
    """Money to give back for a credit note; `paid_on` is None while it is due."""

    credit_note_id: UUID
    amount_minor: int
    paid_on: date | None


class CreditIn(In):
    amount_minor: int = Field(ge=1, le=1_000_000_000)
    reason: CreditReason = Field(description="printed in the invoice's language")


class LabelsIn(In):
    ids: Annotated[list[UUID], Field(max_length=200)]


class ChainOut(Out):
    """`broken_at` is the printed number of the first document that does not fit, None while all do."""

    checked: int
    broken_at: str | None
