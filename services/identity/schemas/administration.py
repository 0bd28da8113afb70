"""Tenants, accounts, deactivations and what services ask, as HTTP shows them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from services.identity.cases import case_url
from services.identity.models import AccountState, DeactivationStage
from services.identity.schemas.entering import Email, Password
from shared.events.identity import ContentChoice, DeactivationReason, Language, LinkPurpose, Role
from shared.http import In, Out

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,38}[a-z0-9]$"), Field(examples=["loft-republique"])]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not an IANA time zone")
    return name


TimeZone = Annotated[str, Field(max_length=64, examples=["Europe/Paris"]), AfterValidator(_known_zone)]


class FirstAdminIn(In):
    """With a password the account works at once; without one it gets an invitation."""

    email: Email
    password: Password | None = None


class TenantIn(In):
    slug: Slug
    name: str = Field(min_length=1, max_length=80, examples=["Loft République"])
    languages: list[Language] = Field(default=[Language.FR, Language.EN], min_length=1)
    default_language: Language = Language.FR
    time_zone: TimeZone = "Europe/Paris"
    admin: FirstAdminIn

    @model_validator(mode="after")
    def default_is_offered(self) -> "TenantIn":
        if self.default_language not in self.languages:
            raise ValueError("the default language is not among the languages")
        return self


class TenantOpenedOut(Out):
    tenant_id: UUID
    slug: str
    account_id: UUID


class TenantDoorOut(Out):
    """What a sign-in page shows of a tenant."""

    tenant_id: UUID
    slug: str
    name: str
    languages: list[Language]
    default_language: Language


class PasswordRule(In):
    """For one role. The longest minimum and the shortest life of somebody's roles apply."""

    min_length: int = Field(12, ge=12, le=64)
    expires_after_days: int | None = Field(None, ge=1, le=3650)


class TenantChangeIn(In):
    name: str = Field(min_length=1, max_length=80)
    languages: list[Language] = Field(min_length=1)
    default_language: Language
    time_zone: TimeZone
    password_rules: dict[Role, PasswordRule] = Field(default_factory=dict)
    cooling_off_days: int = Field(0, ge=0, le=30, description="days in which an own deactivation can be undone")
    default_content: ContentChoice = Field(ContentChoice.REMOVE, description="what happens to a leaving member's posts")


class TenantOut(Out):
    tenant_id: UUID
    slug: str
    name: str
    languages: list[Language]
    default_language: Language
    time_zone: str
    password_rules: dict[Role, PasswordRule]
    cooling_off_days: int
    default_content: ContentChoice
    version: int


class AccountOut(Out):
    """An account as administrators see it."""

    id: UUID
    email: str
    state: AccountState
    roles: list[Role]
    language: Language
    created_at: datetime
    last_seen_at: datetime | None
    version: int


class RolesIn(In):
    roles: set[Role] = Field(min_length=1)


class InvitationIn(In):
    email: Email
    roles: set[Role] = Field(default={Role.MEMBER}, min_length=1)
    language: Language | None = None


class DeactivationIn(In):
    content: ContentChoice | None = Field(None, description="what happens to posts; the tenant's default when left out")


class DeactivationOut(Out):
    """`case_url` is unguessable and needs no sign-in: it is how the person follows their erasure afterwards."""

    case_id: UUID
    case_url: str
    stage: DeactivationStage
    undo_until: datetime | None = None

    @classmethod
    def of(
        cls, case_id: UUID, public_url: str, *, stage: DeactivationStage, undo_until: datetime | None = None
    ) -> "DeactivationOut":
        url = case_url(public_url, case_id)
        return cls(case_id=case_id, case_url=url, stage=stage, undo_until=undo_until)

    @classmethod
    def commanded(cls, case_id: UUID, public_url: str) -> "DeactivationOut":
        """The answer for a case beyond recall: its own address tells the rest."""
        return cls.of(case_id, public_url, stage=DeactivationStage.COMMANDED)


class DeactivationStatusOut(DeactivationOut):
    reason: DeactivationReason
    requested_at: datetime


class TenantDeactivationIn(In):
    confirmation: str = Field(max_length=40, description="the tenant's slug, typed")


class ServiceTokenIn(In):
    client_id: str = Field(max_length=40)
    client_secret: str = Field(max_length=200)


class ServiceTokenOut(Out):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 (a scheme, no secret)
    expires_in: int


class ContactOut(Out):
    """`name` is what the profile says, "" if nothing: invoices must name the buyer."""

    email: str
    language: Language
    name: str


class MailableLinkOut(Out):
    """`extras`: what the mail says besides, by purpose (never needed to build the address)."""

    email: str
    url: str
    language: Language
    purpose: LinkPurpose
    extras: dict[str, str]


class AccountRefOut(Out):
    id: UUID
    roles: list[Role]
    language: Language


class AccountRefsOut(Out):
    accounts: list[AccountRefOut]
