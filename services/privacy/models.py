"""Policies and their acceptance, consent, requests, exports; erasure cases and their answers."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Enum, Identity, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, TenantRow, service_metadata, uuid7
from shared.events.privacy import ConsentPurpose
from shared.privacy.marks import (
    QUEUE,
    Erase,
    Export,
    Row,
    Sweep,
    no_subject,
    not_personal,
    person_ref,
    personal,
    subject,
)

PROOF: dict[str, Any] = {"export": Export.ACCESS, "purpose": "accountability", "basis": "legal_obligation"}
EXPORT_DAYS = 7


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class CaseState(StrEnum):
    AWAITING_RECEIPTS = "awaiting_receipts"
    VERIFYING = "verifying"
    REMEDIATING = "remediating"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    COMPLETED_WITH_RETENTION = "completed_with_retention"


class RequestKind(StrEnum):
    ACCESS = "access"
    RECTIFICATION = "rectification"
    ERASURE = "erasure"
    RESTRICTION = "restriction"
    PORTABILITY = "portability"
    OBJECTION = "objection"
    OTHER = "other"


class RequestState(StrEnum):
    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"


class ExportState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


def _names(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=32, values_callable=lambda e: [m.value for m in e])


class Policy(TenantRow, Base):
    """One published version; it never changes, a later version takes its place."""

    __tablename__ = "policies"
    __table_args__ = (UniqueConstraint("tenant_id", "number"), {"info": no_subject("published texts")})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    number: Mapped[int] = mapped_column(info=not_personal("version"))
    effective_on: Mapped[date] = mapped_column(info=not_personal("date"))
    is_material: Mapped[bool] = mapped_column(info=not_personal("flag"))
    body_fr: Mapped[str] = mapped_column(info=not_personal("published text"))
    body_en: Mapped[str] = mapped_column(info=not_personal("published text"))
    sha256: Mapped[str] = mapped_column(info=not_personal("digest of the texts"))
    published_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    published_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))


class Acceptance(TenantRow, Base):
    __tablename__ = "acceptances"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    policy_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("policy"))
    account_id: Mapped[UUID] = mapped_column(primary_key=True, index=True, info=person_ref(erase=Erase.DELETE_ROW))
    accepted_at: Mapped[datetime] = mapped_column(
        server_default=text("now()"), info=personal("proof.acceptance", erase=Erase.DELETE_ROW, keep="account", **PROOF)
    )


class Consent(TenantRow, Base):
    """Given or withdrawn, append-only: the latest row of a purpose counts."""

    __tablename__ = "consents"
    __table_args__ = (
        Index("ix_consents_latest", "account_id", "purpose", "id"),
        {"info": subject("account_id", row=Row.DELETE)},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID] = mapped_column(info=person_ref(erase=Erase.DELETE_ROW))
    purpose: Mapped[ConsentPurpose] = mapped_column(_names(ConsentPurpose), info=not_personal("enum"))
    is_given: Mapped[bool] = mapped_column(
        info=personal("proof.consent", erase=Erase.DELETE_ROW, keep="account", **{**PROOF, "basis": "consent"})
    )
    at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Officer(TenantRow, Base):
    """How to reach the data protection officer; published with the policy."""

    __tablename__ = "officers"
    __table_args__ = ({"info": no_subject("a published contact of the operator")},)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("tenant"))
    contact: Mapped[str] = mapped_column(info=not_personal("published contact"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Request(TenantRow, Base):
    """Something asked of the data protection officer, with the clock of GDPR art. 12(3)."""

    __tablename__ = "requests"
    __table_args__ = (
        Index("ix_requests_due", "tenant_id", "due_on", "id"),
        {
            "info": subject(
                "account_id",
                row=Row.KEEP,
                orphan="how many requests there were and how fast they were answered",
                # Whatever of its words is left goes; a row that has lost all of them is not due again.
                sweep=Sweep("5 years", "closed_at < :now - interval '5 years'", action="erase"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID | None] = mapped_column(index=True, info=person_ref(erase=Erase.NULL))
    kind: Mapped[RequestKind] = mapped_column(_names(RequestKind), info=not_personal("enum"))
    state: Mapped[RequestState] = mapped_column(
        _names(RequestState), default=RequestState.OPEN, info=not_personal("enum")
    )
    body: Mapped[str | None] = mapped_column(
        info=personal("content.request", erase=Erase.NULL, keep="5 years", **PROOF)
    )
    answer: Mapped[str | None] = mapped_column(
        info=personal("content.request", erase=Erase.NULL, keep="5 years", **PROOF)
    )
    opened_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    due_on: Mapped[date] = mapped_column(info=not_personal("date"))
    is_extended: Mapped[bool] = mapped_column(default=False, info=not_personal("flag"))
    extension_reason: Mapped[str | None] = mapped_column(
        info=personal("content.request", erase=Erase.NULL, keep="5 years", **PROOF)
    )
    # While identity is being asked to end the account nobody else decides; a worker that dies leaves it to lapse.
    granting_until: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    closed_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class DataExport(TenantRow, Base):
    """A person's copy of their data, being collected or waiting to be fetched."""

    __tablename__ = "exports"
    __table_args__ = (
        Index("ix_exports_waiting", "tenant_id", "created_at", postgresql_where=text("state = 'waiting'"), info=QUEUE),
        {
            "info": subject(
                "account_id",
                row=Row.DELETE,
                sweep=Sweep(f"{EXPORT_DAYS} days", f"created_at < :now - interval '{EXPORT_DAYS} days'"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID] = mapped_column(index=True, info=person_ref(erase=Erase.DELETE_ROW))
    state: Mapped[ExportState] = mapped_column(_names(ExportState), info=not_personal("enum"))
    language: Mapped[str] = mapped_column(info=not_personal("language code"))
    done: Mapped[int] = mapped_column(default=0, info=not_personal("progress"))
    total: Mapped[int] = mapped_column(info=not_personal("progress"))
    attempts: Mapped[int] = mapped_column(default=0, info=not_personal("count"))
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    # Named before the file is written, so that erasure and sweep find it whatever happens; only `state` says it is there.
    key: Mapped[str | None] = mapped_column(
        info=personal("file.export", erase=Erase.DELETE_ROW, keep="7 days", **{**PROOF, "export": Export.NONE})
    )
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Case(TenantRow, Base):
    """The erasure of one account, or of the whole tenant. The account id goes when the case completes."""

    __tablename__ = "cases"
    __table_args__ = (
        Index("ix_cases_open", "tenant_id", "commanded_at", postgresql_where=text("completed_at IS NULL"), info=QUEUE),
        {"info": no_subject("erasure cases: what is retained of a person until every service has answered")},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("case"))
    account_id: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.RETAIN))
    is_tenant: Mapped[bool] = mapped_column(info=not_personal("flag"))
    reason: Mapped[str] = mapped_column(info=not_personal("enum"))
    state: Mapped[CaseState] = mapped_column(_names(CaseState), info=not_personal("enum"))
    commanded_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    due_on: Mapped[date] = mapped_column(info=not_personal("date"))
    redriven_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    escalated_days: Mapped[int] = mapped_column(default=0, info=not_personal("days of the last escalation"))
    completed_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Answer(TenantRow, Base):
    """What one service has answered to a case; None = still awaited."""

    __tablename__ = "answers"
    __table_args__ = ({"info": no_subject("receipts: counts, grounds and dates")},)

    case_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("case"))
    service: Mapped[str] = mapped_column(primary_key=True, info=not_personal("service"))
    outcome: Mapped[str | None] = mapped_column(info=not_personal("enum"))
    manifest_digest: Mapped[str | None] = mapped_column(info=not_personal("digest"))
    counts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=not_personal("rows per rule"))
    retained: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=not_personal("grounds, dates, counts"))
    accounts: Mapped[int] = mapped_column(default=0, info=not_personal("count"))
    answered_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    remaining: Mapped[int | None] = mapped_column(info=not_personal("what the verification still found"))


class Participant(Base):
    """A service that holds personal data and must answer; of the suite, not of a tenant."""

    __tablename__ = "participants"
    __table_args__ = ({"info": no_subject("services")},)

    service: Mapped[str] = mapped_column(primary_key=True, info=not_personal("service"))
    manifest_digest: Mapped[str] = mapped_column(info=not_personal("digest"))
    registered_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class OldLedgerEntry(Base):
    """Entries made before the ledger had a database of its own; a job moves them there, the next release drops the table."""

    __tablename__ = "ledger"
    __table_args__ = (
        CheckConstraint("octet_length(subject_hmac) = 32 AND octet_length(hash) = 32", name="hashes"),
        CheckConstraint("outcome ~ '^[a-z_]{1,32}$'", name="outcome"),
        {"info": no_subject("keyed hashes")},
    )

    position: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, info=not_personal("order")
    )
    subject_hmac: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=not_personal("keyed hash"))
    outcome: Mapped[str] = mapped_column(info=not_personal("enum"))
    erased_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary, info=not_personal("chain"))
    hash: Mapped[bytes] = mapped_column(LargeBinary, info=not_personal("chain"))
