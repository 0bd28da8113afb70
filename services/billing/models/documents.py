"""What the law keeps: finalized invoices and credit notes, immutable and chained; payments and open claims apart."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.billing.models.base import BILLING, CLOSING_MONTH, LEGAL, OF_BUYER, Base, names_of
from shared.db import TenantRow, uuid7
from shared.privacy.marks import Erase, Retention, Row, Sweep, no_subject, not_personal, personal, subject

ARTICLE = "Code de commerce L123-22"
# Ten years from the close of the financial year. Where the month said at issue is not the present one, the later end.
KEPT_UNTIL = (
    f"greatest(kept_until(issued_on, (seller ->> 'closing_month')::integer), kept_until(issued_on, {CLOSING_MONTH}))"
)


class DocumentKind(StrEnum):
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class CreditReason(StrEnum):
    """Why a credit note is issued; never free text, which could say something about a person for ten years."""

    CANCELLATION = "cancellation"
    NOT_DELIVERED = "not_delivered"
    NOT_AS_AGREED = "not_as_agreed"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_DETAILS = "wrong_details"  # of the buyer, the date, the VAT: to be invoiced anew
    INVOICED_TWICE = "invoiced_twice"
    DISCOUNT = "discount"
    GOODWILL = "goodwill"


class Series(TenantRow, Base):
    """Where a kind's numbers stand; the row is locked by the transaction that finalizes."""

    __tablename__ = "series"
    __table_args__ = ({"info": no_subject("numbering")},)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("tenant"))
    kind: Mapped[str] = mapped_column(primary_key=True, info=not_personal("enum"))
    last_on: Mapped[date] = mapped_column(info=not_personal("date of the last document"))
    last_number: Mapped[int] = mapped_column(info=not_personal("number"))
    last_hash: Mapped[bytes | None] = mapped_column(LargeBinary, info=not_personal("hash of the last document"))


class Document(TenantRow, Base):
    """A finalized invoice or credit note; `lines` are those of its order, a credit note's also say their `reason`.

    A trigger refuses every change but the anonymization after the legal time, which empties `buyer` and `salt`.
    The chain covers the other fields and `buyer_digest`, so it verifies before and after.
    """

    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("tenant_id", "kind", "year", "number"),
        Index("ix_documents_party", "party_id", "issued_on"),
        Index("ix_documents_list", "tenant_id", "finalized_at", "id"),
        CheckConstraint("(kind = 'invoice') = (invoice_id IS NULL)", name="credit"),
        {
            "info": subject(
                "party_id",
                row=Row.RETAIN,
                via=OF_BUYER,
                guard=False,
                retention=Retention("legal_archive", ARTICLE, KEPT_UNTIL),
                sweep=Sweep(
                    "10 years after the financial year",
                    # The first comparison, a cheap one, spares nearly all rows the second.
                    "buyer IS NOT NULL AND issued_on < CAST(:now AS date) - interval '10 years'"
                    f" AND {KEPT_UNTIL} < CAST(:now AS date)"
                    " AND NOT EXISTS (SELECT FROM claims c WHERE c.settled_on IS NULL"
                    " AND c.invoice_id IN (documents.id, documents.invoice_id))",
                    action="erase",
                ),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    kind: Mapped[DocumentKind] = mapped_column(names_of(DocumentKind), info=not_personal("enum"))
    year: Mapped[int] = mapped_column(info=not_personal("year of the series"))
    number: Mapped[int] = mapped_column(info=not_personal("number of the series"))
    party_id: Mapped[UUID] = mapped_column(info=not_personal("billing's own id"))
    order_id: Mapped[UUID] = mapped_column(index=True, info=not_personal("own order"))
    invoice_id: Mapped[UUID | None] = mapped_column(ForeignKey("documents.id"), info=not_personal("credited invoice"))
    issued_on: Mapped[date] = mapped_column(info=not_personal("date"))
    due_on: Mapped[date] = mapped_column(info=not_personal("date"))
    language: Mapped[str] = mapped_column(info=not_personal("language code"))
    currency: Mapped[str] = mapped_column(info=not_personal("ISO 4217"))
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=not_personal("products, amounts, reasons"))
    vat: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=not_personal("VAT per rate"))
    total_minor: Mapped[int] = mapped_column(info=not_personal("amount, VAT included"))
    seller: Mapped[dict[str, Any]] = mapped_column(JSONB, info=not_personal("an organisation"))
    buyer: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), info=personal("identity.name", erase=Erase.RETAIN, **LEGAL)
    )
    salt: Mapped[bytes | None] = mapped_column(
        LargeBinary, info=personal("digest.salt", erase=Erase.RETAIN, **{**LEGAL, "export": "none"})
    )
    buyer_digest: Mapped[bytes] = mapped_column(
        LargeBinary, info=not_personal("salted digest; random once the salt is gone")
    )
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary, info=not_personal("chain"))
    hash: Mapped[bytes] = mapped_column(LargeBinary, info=not_personal("chain"))
    finalized_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))


class Claim(TenantRow, Base):
    """What is still owed on an invoice; the invoice itself never changes."""

    __tablename__ = "claims"
    __table_args__ = (
        {
            "info": subject(
                "party_id",
                row=Row.RETAIN,
                via=OF_BUYER,
                guard=False,
                retention=Retention("open_claim", "Code civil art. 2224", "NULL::date", when="settled_on IS NULL"),
            )
        },
    )

    invoice_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id"), primary_key=True, info=not_personal("invoice"))
    party_id: Mapped[UUID] = mapped_column(index=True, info=not_personal("billing's own id"))
    open_minor: Mapped[int] = mapped_column(info=not_personal("amount; negative: the buyer's credit"))
    settled_on: Mapped[date | None] = mapped_column(info=not_personal("date"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Payment(TenantRow, Base):
    __tablename__ = "payments"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        {
            "info": subject(
                "party_id",
                row=Row.KEEP,
                via=OF_BUYER,
                # Nothing leads to whoever is erased any more: a note that has outlived its account goes by itself. It is
                # due at whatever time is asked.
                sweep=Sweep(
                    "account",
                    "note IS NOT NULL AND NOT EXISTS (SELECT FROM account_parties a WHERE a.party_id = payments.party_id)"
                    " AND CAST(:now AS date) IS NOT NULL",
                    action="erase",
                ),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    invoice_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id"), index=True, info=not_personal("invoice"))
    party_id: Mapped[UUID] = mapped_column(index=True, info=not_personal("billing's own id"))
    amount_minor: Mapped[int] = mapped_column(info=not_personal("amount"))
    method: Mapped[str] = mapped_column(info=not_personal("enum"))
    received_on: Mapped[date] = mapped_column(info=not_personal("date"))
    note: Mapped[str | None] = mapped_column(info=personal("content.payment_note", erase=Erase.NULL, **BILLING))


class Refund(TenantRow, Base):
    """Money to give back because a paid invoice was credited."""

    __tablename__ = "refunds"
    __table_args__ = ({"info": no_subject("amounts owed on documents")},)

    credit_note_id: Mapped[UUID] = mapped_column(
        ForeignKey("documents.id"), primary_key=True, info=not_personal("credit note")
    )
    amount_minor: Mapped[int] = mapped_column(info=not_personal("amount"))
    paid_on: Mapped[date | None] = mapped_column(info=not_personal("date"))
