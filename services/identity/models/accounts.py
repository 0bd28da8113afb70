"""The account, its profile, its passwords and what is under way to change or end it."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.identity.models.base import Base, account_column, account_key, own, stored
from shared.db import TenantRow, uuid7
from shared.events.identity import ContentChoice, DeactivationReason, Language, Role
from shared.privacy.marks import QUEUE, Erase, Export, Row, Sweep, not_personal, person_ref, subject

CONFIRMED = "state <> 'unverified'"
UNCONFIRMED_DAYS = "state = 'unverified' AND created_at < :now - interval '7 days'"
UNANSWERED_DAYS = "state = 'invited' AND created_at < :now - interval '30 days'"


class AccountState(StrEnum):
    UNVERIFIED = "unverified"
    INVITED = "invited"
    ACTIVE = "active"
    DEACTIVATING = "deactivating"


class PasswordDemand(StrEnum):
    """Why the next session can only change the password."""

    WEAK = "weak"
    BY_ADMIN = "by_admin"


class DeactivationStage(StrEnum):
    """How far a deactivation is: only COMMANDED is beyond recall."""

    ANNOUNCED = "announced"
    COOLING_OFF = "cooling_off"
    COMMANDED = "commanded"


class Account(TenantRow, Base):
    """Somebody who may sign in. Only `active` ones do; a deactivated account is no row any more."""

    __tablename__ = "accounts"
    __table_args__ = (
        # Until an address is verified it belongs to nobody: each registration waits in a row of its own.
        Index("uq_accounts_tenant_id_email", "tenant_id", "email", unique=True, postgresql_where=text(CONFIRMED)),
        Index("ix_accounts_tenant_id_last_seen_at", "tenant_id", "last_seen_at"),
        {
            "info": subject(
                "id",
                row=Row.DELETE,
                sweep=Sweep("7 days unverified, 30 days invited", f"({UNCONFIRMED_DAYS}) OR ({UNANSWERED_DAYS})"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=person_ref(erase=Erase.DELETE_ROW))
    email: Mapped[str] = mapped_column(Text, info=own("contact.email", export=Export.PORTABLE))
    password_hash: Mapped[str | None] = mapped_column(Text, info=own("security.password", export=Export.NONE))
    password_changed_at: Mapped[datetime | None] = mapped_column(info=own("security.password"))
    password_demand: Mapped[PasswordDemand | None] = mapped_column(
        stored(PasswordDemand), info=own("security.password")
    )
    password_warned_days: Mapped[int | None] = mapped_column(info=not_personal("last warning sent, days before"))
    state: Mapped[AccountState] = mapped_column(stored(AccountState), info=not_personal("life cycle"))
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), info=own("account.roles"))
    language: Mapped[Language] = mapped_column(stored(Language), info=own("profile.language", export=Export.PORTABLE))
    invited_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
    created_at: Mapped[datetime] = mapped_column(info=own("account.registration"))
    last_seen_at: Mapped[datetime | None] = mapped_column(info=own("account.use"))
    inactivity_warned_on: Mapped[date | None] = mapped_column(info=own("account.use"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("order"))

    @property
    def role_set(self) -> set[Role]:
        return {Role(role) for role in self.roles}

    @property
    def is_active(self) -> bool:
        return self.state is AccountState.ACTIVE


class Profile(TenantRow, Base):
    """What a member chooses to show; every field is optional. `search_text` holds only what others may see."""

    __tablename__ = "profiles"
    __table_args__ = (
        Index("ix_profiles_tenant_id_sort_name", "tenant_id", "sort_name", "account_id"),
        Index(
            "ix_profiles_search",
            "tenant_id",
            "search_text",
            postgresql_using="gin",
            postgresql_ops={"search_text": "gin_trgm_ops"},
        ),
        {"info": subject("account_id", row=Row.DELETE)},
    )

    account_id: Mapped[UUID] = account_key()
    first_name: Mapped[str] = mapped_column(Text, default="", info=own("profile.name", export=Export.PORTABLE))
    last_name: Mapped[str] = mapped_column(Text, default="", info=own("profile.name", export=Export.PORTABLE))
    phone: Mapped[str] = mapped_column(Text, default="", info=own("contact.phone", export=Export.PORTABLE))
    position: Mapped[str] = mapped_column(Text, default="", info=own("profile.position", export=Export.PORTABLE))
    department: Mapped[str] = mapped_column(Text, default="", info=own("profile.department", export=Export.PORTABLE))
    skills: Mapped[list[str]] = mapped_column(
        ARRAY(Text), default=list, info=own("profile.skills", export=Export.PORTABLE)
    )
    description: Mapped[str] = mapped_column(Text, default="", info=own("profile.description", export=Export.PORTABLE))
    picture_key: Mapped[str | None] = mapped_column(Text, info=own("file.picture", export=Export.PORTABLE))
    in_directory: Mapped[bool] = mapped_column(Boolean, default=True, info=own("profile.visibility"))
    hidden_fields: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, info=own("profile.visibility"))
    search_text: Mapped[str] = mapped_column(Text, default="", info=own("profile.name", export=Export.NONE))
    sort_name: Mapped[str] = mapped_column(Text, default="", info=own("profile.name", export=Export.NONE))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("order"))

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    def shows(self, field: str) -> bool:
        """Whether other members may see `field`."""
        return self.in_directory and field not in self.hidden_fields


class PastPassword(TenantRow, Base):
    """One of the last passwords, so that it is not chosen again."""

    __tablename__ = "past_passwords"
    __table_args__ = (
        Index("ix_past_passwords_account_id", "account_id", "replaced_at"),
        {"info": subject("account_id", row=Row.DELETE)},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("row id"))
    account_id: Mapped[UUID] = account_column()
    password_hash: Mapped[str] = mapped_column(Text, info=own("security.password", export=Export.NONE))
    replaced_at: Mapped[datetime] = mapped_column(info=own("security.password"))


class EmailChange(TenantRow, Base):
    """A new address that waits for its confirmation, then the old one for as long as it may undo."""

    __tablename__ = "email_changes"
    __table_args__ = (
        {
            "info": subject(
                "account_id",
                row=Row.DELETE,
                sweep=Sweep("14 days", "requested_at < :now - interval '14 days'"),
            )
        },
    )

    account_id: Mapped[UUID] = account_key()
    old_email: Mapped[str] = mapped_column(Text, info=own("contact.email", keep="14 days"))
    new_email: Mapped[str] = mapped_column(Text, info=own("contact.email", keep="14 days"))
    requested_at: Mapped[datetime] = mapped_column(info=own("account.use", keep="14 days"))
    confirmed_at: Mapped[datetime | None] = mapped_column(info=own("account.use", keep="14 days"))


class SecondFactor(TenantRow, Base):
    """A time-based one-time password (RFC 6238); it counts once confirmed."""

    __tablename__ = "second_factors"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    account_id: Mapped[UUID] = account_key()
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary, info=own("security.second_factor", export=Export.NONE))
    confirmed_at: Mapped[datetime | None] = mapped_column(info=own("security.second_factor"))
    last_step: Mapped[int] = mapped_column(default=0, info=not_personal("time step used last, against replays"))


class RecoveryCode(TenantRow, Base):
    """One of the codes that stand in for a lost second factor, each once."""

    __tablename__ = "recovery_codes"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    account_id: Mapped[UUID] = account_key()
    digest: Mapped[bytes] = mapped_column(
        LargeBinary, primary_key=True, info=own("security.second_factor", export=Export.NONE)
    )


class Deactivation(TenantRow, Base):
    """An account on its way out: `commanded_at` is the point of no return, and there is no way back from it.

    The event waits until the last mail is settled (`settle_by` at the latest) and until `undo_until` has passed.
    """

    __tablename__ = "deactivations"
    __table_args__ = (
        UniqueConstraint("tenant_id", "case_id"),
        Index(
            "ix_deactivations_tenant_id_settle_by",
            "tenant_id",
            "settle_by",
            postgresql_where=text("commanded_at IS NULL"),
            info=QUEUE,
        ),
        {"info": subject("account_id", row=Row.DELETE)},
    )

    account_id: Mapped[UUID] = account_key()
    case_id: Mapped[UUID] = mapped_column(info=not_personal("case"))
    reason: Mapped[DeactivationReason] = mapped_column(stored(DeactivationReason), info=own("account.deactivation"))
    content: Mapped[ContentChoice] = mapped_column(stored(ContentChoice), info=own("account.deactivation"))
    requested_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
    requested_at: Mapped[datetime] = mapped_column(info=own("account.deactivation"))
    link_id: Mapped[UUID] = mapped_column(
        ForeignKey("links.id", ondelete="CASCADE"), index=True, info=not_personal("the last mail's link")
    )
    settle_by: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    undo_until: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    commanded_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))

    def stage(self, now: datetime) -> DeactivationStage:
        if self.commanded_at is not None:
            return DeactivationStage.COMMANDED
        is_cooling_off = self.undo_until is not None and now < self.undo_until
        return DeactivationStage.COOLING_OFF if is_cooling_off else DeactivationStage.ANNOUNCED

    def can_be_undone_by_signing_in(self, now: datetime) -> bool:
        """Who was deactivated by an administrator comes back through an administrator."""
        is_own = self.reason in (DeactivationReason.OWN_REQUEST, DeactivationReason.INACTIVE)
        return is_own and self.commanded_at is None and self.undo_until is not None and now < self.undo_until
