"""Sessions, single-use links, the security log and the counters of failed attempts."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.identity.models.base import Base, account_column, own, stored
from shared.db import TenantRow, uuid7
from shared.events.identity import LinkPurpose
from shared.privacy.marks import Export, Row, Sweep, no_subject, not_personal, subject


class SessionRow(TenantRow, Base):
    """A device that is signed in: one family of refresh tokens, of which the last two are known by digest."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_account_id", "account_id"),
        {"info": subject("account_id", row=Row.DELETE, sweep=Sweep("30 days unused", "expires_at < :now"))},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("session id"))
    account_id: Mapped[UUID] = account_column()
    token_digest: Mapped[bytes] = mapped_column(LargeBinary, info=not_personal("digest of a random token"))
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary, info=not_personal("digest of a random token"))
    rotated_at: Mapped[datetime] = mapped_column(info=own("security.session", keep="30 days"))
    created_at: Mapped[datetime] = mapped_column(info=own("security.session", keep="30 days"))
    authenticated_at: Mapped[datetime] = mapped_column(info=own("security.session", keep="30 days"))
    last_used_at: Mapped[datetime] = mapped_column(info=own("security.session", keep="30 days"))
    expires_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    device: Mapped[str] = mapped_column(Text, info=own("security.device", keep="30 days"))
    address: Mapped[str] = mapped_column(Text, info=own("security.address", keep="30 days"))


class Link(TenantRow, Base):
    """A single-use link in a mail. Its token is an HMAC of the id, so nothing here opens it."""

    __tablename__ = "links"
    __table_args__ = (
        Index("ix_links_account_id", "account_id"),
        {
            "info": subject(
                "account_id",
                row=Row.DELETE,
                sweep=Sweep("7 days after its end", "expires_at < :now - interval '7 days'"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("link id"))
    account_id: Mapped[UUID] = account_column()
    purpose: Mapped[LinkPurpose] = mapped_column(stored(LinkPurpose), info=not_personal("enum"))
    email: Mapped[str] = mapped_column(Text, info=own("contact.email", keep="link"))
    created_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    expires_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    used_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))

    def is_open(self, now: datetime) -> bool:
        return self.used_at is None and now < self.expires_at


class Happening(StrEnum):
    """What a person reads in their security log."""

    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    CONFIRMED = "confirmed"
    SESSION_REVOKED = "session_revoked"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 (an entry, no secret)
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 (an entry, no secret)
    PASSWORD_RESET = "password_reset"  # noqa: S105 (an entry, no secret)
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    EMAIL_CHANGE_UNDONE = "email_change_undone"
    SECOND_FACTOR_ADDED = "second_factor_added"
    SECOND_FACTOR_REMOVED = "second_factor_removed"
    RECOVERY_CODE_USED = "recovery_code_used"
    ROLES_CHANGED = "roles_changed"
    DEACTIVATION_REQUESTED = "deactivation_requested"
    DEACTIVATION_UNDONE = "deactivation_undone"


class SecurityEntry(TenantRow, Base):
    """One line of an account's security log."""

    __tablename__ = "security_entries"
    __table_args__ = (
        Index("ix_security_entries_account_id", "account_id", "happened_at", "id"),
        {
            "info": subject(
                "account_id",
                row=Row.DELETE,
                sweep=Sweep("1 year", "happened_at < :now - interval '1 year'"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("row id"))
    account_id: Mapped[UUID] = account_column()
    happening: Mapped[Happening] = mapped_column(stored(Happening), info=own("security.log", keep="1 year"))
    happened_at: Mapped[datetime] = mapped_column(info=own("security.log", keep="1 year"))
    device: Mapped[str] = mapped_column(Text, info=own("security.device", keep="1 year"))
    address: Mapped[str] = mapped_column(Text, info=own("security.address", export=Export.ACCESS, keep="1 year"))


class Attempts(TenantRow, Base):
    """Failures of one account, one client address, or the two together, behind a keyed digest."""

    __tablename__ = "attempts"
    __table_args__ = (
        {
            "info": no_subject(
                "counters behind keyed digests",
                sweep=Sweep(
                    "1 day, 30 days for devices that were let in",
                    "updated_at < :now - interval '30 days'"
                    " OR (succeeded_at IS NULL AND updated_at < :now - interval '1 day')",
                ),
            )
        },
    )

    digest: Mapped[bytes] = mapped_column(
        LargeBinary, primary_key=True, info=not_personal("keyed digest of address or account, the key is the service's")
    )
    failures: Mapped[int] = mapped_column(info=not_personal("count"))
    blocked_until: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    updated_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    succeeded_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
