"""A tenant's own settings, and the keys that sign everybody's tokens."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.identity.models.base import Base, stored
from shared.events.identity import ContentChoice, Language, Role
from shared.privacy.marks import no_subject, not_personal

MIN_PASSWORD_LENGTH = 12
ADMIN_PASSWORD_DAYS = 365


class TenantSettings(Base):
    """What a tenant decides. `password_rules` maps a role to `{"min_length", "expires_after_days"}`."""

    __tablename__ = "tenant_settings"
    __table_args__ = ({"info": no_subject("an organisation's settings")},)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("tenant"))
    slug: Mapped[str] = mapped_column(Text, info=not_personal("public name of an organisation"))
    name: Mapped[str] = mapped_column(Text, info=not_personal("public name of an organisation"))
    languages: Mapped[list[str]] = mapped_column(ARRAY(Text), info=not_personal("language codes"))
    default_language: Mapped[Language] = mapped_column(stored(Language), info=not_personal("language code"))
    time_zone: Mapped[str] = mapped_column(Text, info=not_personal("IANA zone"))
    password_rules: Mapped[dict[str, Any]] = mapped_column(JSONB, info=not_personal("policy"))
    cooling_off_days: Mapped[int] = mapped_column(default=0, info=not_personal("policy"))
    default_content: Mapped[ContentChoice] = mapped_column(
        stored(ContentChoice), default=ContentChoice.REMOVE, info=not_personal("policy")
    )
    version: Mapped[int] = mapped_column(default=1, info=not_personal("order"))
    case_id: Mapped[UUID | None] = mapped_column(info=not_personal("case of the tenant's deactivation"))
    deactivated_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))

    def min_password_length(self, roles: set[Role]) -> int:
        """Return the longest minimum that any of `roles` asks for."""
        lengths = [int(self._rule(role).get("min_length") or MIN_PASSWORD_LENGTH) for role in roles]
        return max(lengths, default=MIN_PASSWORD_LENGTH)

    def password_days(self, roles: set[Role]) -> int | None:
        """Return the shortest life that any of `roles` gives a password, in days; None when it never expires."""
        lives = [int(days) for role in roles if (days := self._rule(role).get("expires_after_days"))]
        return min(lives, default=None)

    def password_expires_on(self, roles: set[Role], changed_at: datetime | None) -> date | None:
        """Return the first day, in the tenant's zone, on which a password set at `changed_at` no longer serves."""
        days = self.password_days(roles)
        if days is None or changed_at is None:
            return None
        return self.day_of(changed_at) + timedelta(days=days)

    def day_of(self, instant: datetime) -> date:
        """Return the calendar day of `instant` where the tenant is."""
        return instant.astimezone(ZoneInfo(self.time_zone)).date()

    def _rule(self, role: Role) -> dict[str, Any]:
        rule: dict[str, Any] = self.password_rules.get(role, {})
        return rule


class SigningKey(Base):
    """One Ed25519 key of the platform: published from `created_at`, signing from `signs_from`, gone at `retires_at`."""

    __tablename__ = "signing_keys"
    __table_args__ = ({"info": no_subject("the platform's token keys; gone with their rotation")},)

    id: Mapped[str] = mapped_column(Text, primary_key=True, info=not_personal("key id"))
    public_key: Mapped[bytes] = mapped_column(LargeBinary, info=not_personal("public key"))
    sealed_private_key: Mapped[bytes] = mapped_column(LargeBinary, info=not_personal("private key, encrypted"))
    created_at: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    signs_from: Mapped[datetime] = mapped_column(info=not_personal("instant"))
    retires_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
