"""Published by billing. Amounts are integer minor units of `currency` (ISO 4217), VAT included."""

from datetime import date
from uuid import UUID

from shared.bus.contracts import AccountId, Event, Label, event


@event("billing.quote.issued.v1", key="quote_id")
class QuoteIssued(Event):
    quote_id: UUID
    account_id: AccountId | None
    total_minor: int
    currency: Label
    valid_until: date


@event("billing.invoice.issued.v1", key="invoice_id")
class InvoiceIssued(Event):
    invoice_id: UUID
    order_id: UUID
    account_id: AccountId | None
    total_minor: int
    currency: Label
    due_on: date


@event("billing.invoice.paid.v1", key="invoice_id")
class InvoicePaid(Event):
    invoice_id: UUID
    order_id: UUID
    account_id: AccountId | None


@event("billing.credit_note.issued.v1", key="credit_note_id")
class CreditNoteIssued(Event):
    credit_note_id: UUID
    invoice_id: UUID
    account_id: AccountId | None
    total_minor: int
    currency: Label
