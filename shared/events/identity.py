"""Published by identity: tenants, accounts, sessions and the point of no return."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from shared.bus.contracts import AccountId, Event, Label, event


class Language(StrEnum):
    FR = "fr"
    EN = "en"


class Role(StrEnum):
    MEMBER = "member"
    MANAGER = "manager"
    DPO = "dpo"
    ADMIN = "admin"


class DeactivationReason(StrEnum):
    OWN_REQUEST = "own_request"
    BY_ADMIN = "by_admin"
    INACTIVE = "inactive"
    DPO_REQUEST = "dpo_request"
    TENANT = "tenant"


class ContentChoice(StrEnum):
    """What happens to the words that the person published: posts and comments."""

    KEEP = "keep"
    REMOVE = "remove"


class LinkPurpose(StrEnum):
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 (a purpose, no secret)
    CONFIRM_NEW_EMAIL = "confirm_new_email"
    UNDO_EMAIL_CHANGE = "undo_email_change"
    INVITATION = "invitation"
    ALREADY_REGISTERED = "already_registered"
    DEACTIVATION = "deactivation"


class SecurityKind(StrEnum):
    NEW_SIGN_IN = "new_sign_in"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 (an alert, no secret)
    EMAIL_CHANGED = "email_changed"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 (an alert, no secret)
    RECOVERY_CODE_USED = "recovery_code_used"
    SECOND_FACTOR_REMOVED = "second_factor_removed"


@event("identity.tenant.registered.v1", key="tenant_id")
class TenantRegistered(Event):
    slug: Label
    languages: list[Language]
    default_language: Language
    time_zone: Label


@event("identity.tenant.changed.v1", key="tenant_id")
class TenantChanged(Event):
    slug: Label
    languages: list[Language]
    default_language: Language
    time_zone: Label


@event("identity.tenant.deactivated.v1", key="tenant_id")
class TenantDeactivated(Event):
    """The point of no return of a whole tenant; there are no per-account events besides."""

    case_id: UUID
    accounts: int


@event("identity.account.registered.v1", key="account_id")
class AccountRegistered(Event):
    account_id: AccountId
    language: Language
    roles: list[Role]


@event("identity.account.roles_changed.v1", key="account_id")
class AccountRolesChanged(Event):
    account_id: AccountId
    roles: list[Role]


@event("identity.account.deactivated.v1", key="account_id")
class AccountDeactivated(Event):
    """The point of no return of one account: every service erases its own personal data."""

    account_id: AccountId
    case_id: UUID
    reason: DeactivationReason
    content: ContentChoice = ContentChoice.REMOVE


@event("identity.account.inactivity_warned.v1", key="account_id")
class AccountInactivityWarned(Event):
    account_id: AccountId
    deactivates_on: date


@event("identity.account.password_expiring.v1", key="account_id")
class PasswordExpiring(Event):
    account_id: AccountId
    expires_on: date
    days_left: int


@event("identity.account.security_alerted.v1", key="account_id")
class SecurityAlerted(Event):
    account_id: AccountId
    kind: SecurityKind


@event("identity.session.revoked.v1", key="account_id")
class SessionsRevoked(Event):
    """These sessions are refused everywhere from now on; their access tokens end at `until_epoch` at the latest."""

    account_id: AccountId
    session_ids: list[UUID]
    until_epoch: int


@event("identity.link.issued.v1", key="link_id")
class LinkIssued(Event):
    """A single-use link waits to be mailed; notify asks identity for address and URL when it sends."""

    link_id: UUID
    account_id: AccountId
    purpose: LinkPurpose
