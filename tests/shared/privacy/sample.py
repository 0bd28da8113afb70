"""A small service whose tables use every mark: the engine's tests erase from it."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, TenantRow, service_metadata, uuid7
from shared.privacy.marks import (
    Erase,
    Export,
    Retention,
    Row,
    Sweep,
    Via,
    link,
    no_subject,
    not_personal,
    person_ref,
    personal,
    subject,
)

WORDS = {"export": Export.PORTABLE, "purpose": "service", "basis": "contract", "keep": "account"}


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class Profile(TenantRow, Base):
    __tablename__ = "profiles"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)
    account_id: Mapped[UUID] = mapped_column(primary_key=True, info=person_ref(erase=Erase.DELETE_ROW))
    email: Mapped[str] = mapped_column(info=personal("contact.email", erase=Erase.DELETE_ROW, **WORDS))
    picture: Mapped[str | None] = mapped_column(info=personal("file.picture", erase=Erase.DELETE_ROW, **WORDS))
    invited_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))


class Post(TenantRow, Base):
    __tablename__ = "posts"
    __table_args__ = (
        Index("ix_posts_lower", text("lower(body)")),
        {
            "info": subject(
                "author_id",
                row=Row.KEEP,
                orphan="a thread without its author stays readable",
                sweep=Sweep("3 years", "made_on < :now - interval '3 years'"),
            )
        },
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    thread_id: Mapped[UUID] = mapped_column(info=not_personal("thread"))
    author_id: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.SURROGATE, scope="thread_id"))
    body: Mapped[str | None] = mapped_column(info=personal("content.text", erase=Erase.BY_CHOICE, **WORDS))
    mood: Mapped[str] = mapped_column(info=personal("content.mood", erase=Erase.GENERALIZE, to="none", **WORDS))
    reservation_id: Mapped[UUID | None] = mapped_column(info=link("booking.reservation"))
    approved_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.SURROGATE, scope="thread_id"))
    made_on: Mapped[date] = mapped_column(server_default=text("current_date"), info=not_personal("date"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Party(TenantRow, Base):
    __tablename__ = "parties"
    __table_args__ = ({"info": subject("id", row=Row.DELETE, via=Via("account_parties", "party_id", "account_id"))},)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    address: Mapped[str | None] = mapped_column(info=personal("contact.address", erase=Erase.DELETE_ROW, **WORDS))


class AccountParty(TenantRow, Base):
    __tablename__ = "account_parties"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)
    account_id: Mapped[UUID] = mapped_column(primary_key=True, info=person_ref(erase=Erase.DELETE_ROW))
    party_id: Mapped[UUID] = mapped_column(info=not_personal("billing's own id"))


class Invoice(TenantRow, Base):
    __tablename__ = "invoices"
    __table_args__ = (
        {
            "info": subject(
                "party_id",
                row=Row.RETAIN,
                via=Via("account_parties", "party_id", "account_id"),
                guard=False,
                retention=Retention("legal_archive", "L123-22", "issued_on + interval '10 years'"),
            )
        },
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    party_id: Mapped[UUID] = mapped_column(info=not_personal("billing's own id"))
    buyer: Mapped[str | None] = mapped_column(info=personal("identity.name", erase=Erase.RETAIN, **WORDS))
    note: Mapped[str | None] = mapped_column(info=personal("content.note", erase=Erase.NULL, **WORDS))
    issued_on: Mapped[date] = mapped_column(info=not_personal("date"))


class Room(TenantRow, Base):
    __tablename__ = "rooms"
    __table_args__ = ({"info": no_subject("rooms")},)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    name: Mapped[str] = mapped_column(info=not_personal("name of a room"))
    keeper_id: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
