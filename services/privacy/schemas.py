"""What privacy accepts and returns."""

from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from services.privacy.models import CaseState, ExportState, RequestKind, RequestState
from shared.events.privacy import HoldGround
from shared.http import In, Out

Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]


class PolicyIn(In):
    body_fr: Text
    body_en: Text
    effective_on: date
    is_material: bool = Field(description="whether everybody is to accept again")


class ComingPolicyOut(Out):
    """A version that is published and not yet in force."""

    number: int
    effective_on: date
    is_material: bool


class PolicyOut(Out):
    number: int
    effective_on: date
    is_material: bool
    body_fr: str
    body_en: str
    sha256: str
    published_at: datetime
    officer: str | None = Field(None, description="how to reach the data protection officer")
    coming: ComingPolicyOut | None = Field(None, description="beside the version in force: the next one")


class AcceptanceOut(Out):
    must_accept: bool
    latest: int = Field(description="the version in force")
    coming: ComingPolicyOut | None = Field(None, description="the next version; it may be accepted beforehand")


class AcceptanceIn(In):
    number: int = Field(ge=1)


class ConsentIn(In):
    given: bool


class OfficerIn(In):
    contact: Annotated[str, StringConstraints(min_length=3, max_length=300)]


class RequestIn(In):
    model_config = ConfigDict(
        json_schema_extra={"example": {"kind": "objection", "body": "Please stop measuring my use."}}
    )

    kind: RequestKind
    body: Words


class ExtensionIn(In):
    reason: Words = Field(description="why the answer takes longer; the person reads it in their request")


class AnswerIn(In):
    grant: bool = Field(description="a granted request for erasure ends the account")
    answer: Words = Field(
        description="what was done, or the reasons of a refusal; not kept for somebody who is erased already"
    )


class RequestOut(Out):
    id: UUID
    account_id: UUID | None
    kind: RequestKind
    state: RequestState
    body: str | None
    answer: str | None
    remedies: str | None = Field(None, description="with a refusal: complaint to the CNIL and judicial remedy")
    opened_at: datetime
    due_on: date
    is_extended: bool
    extension_reason: str | None
    closed_at: datetime | None


class HoldIn(In):
    ground: HoldGround
    review_on: date


class ExportOut(Out):
    id: UUID
    state: ExportState
    done: int
    total: int
    created_at: datetime


class ServiceAnswerOut(Out):
    service: str
    outcome: str | None
    counts: list[dict[str, Any]]
    retained: list[dict[str, Any]]
    accounts: int
    answered_at: datetime | None
    remaining: int | None


class ProgressOut(Out):
    done: int
    total: int


class CaseOut(Out):
    """A case without personal data."""

    id: UUID
    is_tenant: bool
    state: CaseState
    commanded_at: datetime
    due_on: date
    completed_at: datetime | None
    answers: list[ServiceAnswerOut]
    progress: dict[str, ProgressOut] = Field({}, description="tenant cases: accounts done per service")


class CertificateOut(CaseOut):
    backup_days: int
    manifests: dict[str, str | None]
    digest: str = Field(description="SHA-256 of the certificate's content")
