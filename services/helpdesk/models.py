"""Tickets, public replies and internal notes. Replies and notes are two tables: no requester's query touches notes."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Enum, ForeignKey, Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, TenantRow, service_metadata, uuid7
from shared.privacy.marks import (
    Erase,
    Export,
    Row,
    Sweep,
    Via,
    link,
    not_personal,
    person_ref,
    personal,
    subject,
)

KEPT_YEARS = "3 years"
WORDS: dict[str, Any] = {"purpose": "help desk", "basis": "contract", "keep": KEPT_YEARS}
OF_REQUESTER = Via("tickets", "id", "requester_id")
PAST = f"closed_at < :now - interval '{KEPT_YEARS}'"
WORDS_PAST = Sweep(
    KEPT_YEARS, f"body IS NOT NULL AND ticket_id IN (SELECT id FROM tickets WHERE {PAST})", action="erase"
)


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class State(StrEnum):
    NEW = "new"
    OPEN = "open"
    PENDING = "pending"  # waits for the requester
    ON_HOLD = "on_hold"  # waits for somebody else
    SOLVED = "solved"
    CLOSED = "closed"


# What staff may set by hand; replies move a ticket by themselves.
NEXT = {
    State.NEW: {State.OPEN, State.PENDING, State.ON_HOLD, State.SOLVED},
    State.OPEN: {State.PENDING, State.ON_HOLD, State.SOLVED},
    State.PENDING: {State.OPEN, State.ON_HOLD, State.SOLVED},
    State.ON_HOLD: {State.OPEN, State.PENDING, State.SOLVED},
    State.SOLVED: {State.OPEN, State.CLOSED},
    State.CLOSED: set(),
}


class Category(StrEnum):
    ACCESS = "access"
    BILLING = "billing"
    EQUIPMENT = "equipment"
    NETWORK = "network"
    OTHER = "other"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


def _names(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e])


class Ticket(TenantRow, Base):
    __tablename__ = "tickets"
    __table_args__ = (
        Index("ix_tickets_queue", "tenant_id", "created_at", "id"),
        Index("ix_tickets_requester", "requester_id", "created_at"),
        {
            "info": subject(
                "requester_id",
                row=Row.KEEP,
                orphan="figures of the help desk without a person",
                sweep=Sweep(KEPT_YEARS, f"subject IS NOT NULL AND {PAST}", action="erase"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    requester_id: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.SURROGATE, scope="id"))
    subject: Mapped[str | None] = mapped_column(
        info=personal("content.ticket", erase=Erase.NULL, export=Export.PORTABLE, **WORDS)
    )
    category: Mapped[Category] = mapped_column(_names(Category), info=not_personal("enum"))
    priority: Mapped[Priority] = mapped_column(_names(Priority), default=Priority.NORMAL, info=not_personal("enum"))
    state: Mapped[State] = mapped_column(_names(State), default=State.NEW, info=not_personal("enum"))
    location_id: Mapped[UUID | None] = mapped_column(info=not_personal("a place of the operator"))
    reservation_id: Mapped[UUID | None] = mapped_column(info=link("booking.reservation"))
    invoice_id: Mapped[UUID | None] = mapped_column(info=link("billing.invoice"))
    assignee_id: Mapped[UUID | None] = mapped_column(index=True, info=person_ref(erase=Erase.NULL))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    first_replied_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    solved_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    closed_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Reply(TenantRow, Base):
    """What requester and staff say to each other; all of it goes with the requester, it is about them."""

    __tablename__ = "replies"
    __table_args__ = (
        Index("ix_replies_ticket", "ticket_id", "created_at", "id"),
        {"info": subject("ticket_id", row=Row.KEEP, via=OF_REQUESTER, sweep=WORDS_PAST)},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("tickets.id"), info=not_personal("ticket"))
    author_id: Mapped[UUID | None] = mapped_column(
        index=True, info=person_ref(erase=Erase.SURROGATE, scope="ticket_id")
    )
    by_staff: Mapped[bool] = mapped_column(info=not_personal("flag"))
    body: Mapped[str | None] = mapped_column(
        info=personal("content.ticket", erase=Erase.NULL, export=Export.PORTABLE, **WORDS)
    )
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Note(TenantRow, Base):
    """What staff write among themselves; no requester's route, export or event reads this table."""

    __tablename__ = "notes"
    __table_args__ = (
        Index("ix_notes_ticket", "ticket_id", "created_at", "id"),
        {"info": subject("ticket_id", row=Row.KEEP, via=OF_REQUESTER, sweep=WORDS_PAST)},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("tickets.id"), info=not_personal("ticket"))
    author_id: Mapped[UUID | None] = mapped_column(
        index=True, info=person_ref(erase=Erase.SURROGATE, scope="ticket_id")
    )
    body: Mapped[str | None] = mapped_column(
        info=personal("content.internal_note", erase=Erase.NULL, export=Export.NONE, **WORDS)
    )
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Upload(TenantRow, Base):
    """A file on its way into the store: there before the file is, gone with the commit that makes an attachment of it.

    Whatever ends the process in between, the sweep or an erasure finds the file by this row.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        {
            "info": subject(
                "ticket_id",
                row=Row.DELETE,
                via=OF_REQUESTER,
                sweep=Sweep("1 day", "created_at < :now - interval '1 day'"),
            )
        },
    )

    key: Mapped[str] = mapped_column(
        primary_key=True,
        info=personal("file.attachment", erase=Erase.DELETE_ROW, export=Export.NONE, **{**WORDS, "keep": "1 day"}),
    )
    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("tickets.id"), index=True, info=not_personal("ticket"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Attachment(TenantRow, Base):
    """A file on a ticket; `key` is its random name in the store."""

    __tablename__ = "attachments"
    __table_args__ = (
        {
            "info": subject(
                "ticket_id",
                row=Row.DELETE,
                via=OF_REQUESTER,
                sweep=Sweep(KEPT_YEARS, f"ticket_id IN (SELECT id FROM tickets WHERE {PAST})"),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    ticket_id: Mapped[UUID] = mapped_column(ForeignKey("tickets.id"), index=True, info=not_personal("ticket"))
    author_id: Mapped[UUID | None] = mapped_column(
        index=True, info=person_ref(erase=Erase.SURROGATE, scope="ticket_id")
    )
    name: Mapped[str] = mapped_column(
        info=personal("content.file_name", erase=Erase.DELETE_ROW, export=Export.PORTABLE, **WORDS)
    )
    key: Mapped[str] = mapped_column(
        info=personal("file.attachment", erase=Erase.DELETE_ROW, export=Export.PORTABLE, **WORDS)
    )
    media_type: Mapped[str] = mapped_column(info=not_personal("media type"))
    size_bytes: Mapped[int] = mapped_column(info=not_personal("size"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
