"""Who is told, what they want to be told, the in-app centre, and mail on its way. No address is stored."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Enum, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Text

from services.notify.kinds import Channel, Kind, Mode
from shared.db import TYPES, TenantRow, service_metadata, uuid7
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

CHOICE: dict[str, Any] = {"export": Export.PORTABLE, "purpose": "notification", "basis": "contract", "keep": "account"}
KEPT_DAYS = 180


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class DeliveryState(StrEnum):
    WAITING = "waiting"
    SENDING = "sending"  # the server has it, or not: after a crash here nobody knows
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"  # the person is gone, or wants none
    UNKNOWN = "unknown"


def _names(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=32, values_callable=lambda e: [m.value for m in e])


class Recipient(TenantRow, Base):
    """Copy of identity's accounts: who may be told something, by role."""

    __tablename__ = "recipients"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    account_id: Mapped[UUID] = mapped_column(primary_key=True, info=person_ref(erase=Erase.DELETE_ROW))
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), info=not_personal("roles"))
    has_consented: Mapped[bool] = mapped_column(
        default=False, info=personal("proof.consent", erase=Erase.DELETE_ROW, **{**CHOICE, "basis": "consent"})
    )


class Preference(TenantRow, Base):
    __tablename__ = "preferences"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    account_id: Mapped[UUID] = mapped_column(primary_key=True, info=person_ref(erase=Erase.DELETE_ROW))
    kind: Mapped[Kind] = mapped_column(_names(Kind), primary_key=True, info=not_personal("enum"))
    channel: Mapped[Channel] = mapped_column(_names(Channel), primary_key=True, info=not_personal("enum"))
    mode: Mapped[Mode] = mapped_column(
        _names(Mode), info=personal("preference.notification", erase=Erase.DELETE_ROW, **CHOICE)
    )


class Notice(TenantRow, Base):
    """One line of the in-app centre: a kind and the ids that lead to what happened; the words are the page's."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("event_id", "kind", "account_id"),
        Index("ix_notices_list", "account_id", "created_at", "id"),
        {
            "info": subject(
                "account_id",
                row=Row.DELETE,
                sweep=Sweep(f"{KEPT_DAYS} days", f"created_at < :now - interval '{KEPT_DAYS} days'"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID] = mapped_column(info=person_ref(erase=Erase.DELETE_ROW))
    event_id: Mapped[UUID] = mapped_column(info=not_personal("event id"))
    kind: Mapped[Kind] = mapped_column(_names(Kind), info=not_personal("enum"))
    about: Mapped[dict[str, Any]] = mapped_column(
        JSONB, info=personal("content.notice", erase=Erase.DELETE_ROW, **CHOICE)
    )
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    seen_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    read_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))


class Delivery(TenantRow, Base):
    """One mail to one person about one event: template and ids; the address is asked for when it is sent."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "kind", "account_id"),
        Index(
            "ix_deliveries_open",
            "tenant_id",
            "due_at",
            postgresql_where=text("state IN ('waiting', 'sending')"),
            info=QUEUE,
        ),
        Index("ix_deliveries_account", "account_id"),
        {
            "info": subject(
                "account_id",
                row=Row.DELETE,
                sweep=Sweep("30 days", "created_at < :now - interval '30 days' AND state <> 'waiting'"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID] = mapped_column(info=person_ref(erase=Erase.DELETE_ROW))
    event_id: Mapped[UUID] = mapped_column(info=not_personal("event id"))
    kind: Mapped[Kind] = mapped_column(_names(Kind), info=not_personal("enum"))
    about: Mapped[dict[str, Any]] = mapped_column(
        JSONB, info=personal("content.notice", erase=Erase.DELETE_ROW, **CHOICE)
    )
    link_id: Mapped[UUID | None] = mapped_column(
        index=True, info=not_personal("identity's link, gone with the account")
    )
    state: Mapped[DeliveryState] = mapped_column(
        _names(DeliveryState), default=DeliveryState.WAITING, info=not_personal("enum")
    )
    attempts: Mapped[int] = mapped_column(default=0, info=not_personal("count"))
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    claimed_until: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Counter(TenantRow, Base):
    """How many mails of a kind went out on a day, without anybody's name."""

    __tablename__ = "counters"
    __table_args__ = ({"info": no_subject("figures")},)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("tenant"))
    kind: Mapped[str] = mapped_column(primary_key=True, info=not_personal("enum"))
    channel: Mapped[str] = mapped_column(primary_key=True, info=not_personal("enum"))
    on: Mapped[date] = mapped_column(Date, primary_key=True, info=not_personal("date"))
    sent: Mapped[int] = mapped_column(default=0, info=not_personal("count"))
