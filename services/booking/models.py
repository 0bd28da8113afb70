"""Locations, what can be reserved in them, and reservations."""

from datetime import date, datetime, time
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Enum, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TSTZRANGE, ExcludeConstraint, Range
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, TenantRow, service_metadata, uuid7
from shared.events.booking import CancelReason
from shared.privacy.marks import (
    Erase,
    Export,
    Row,
    Sweep,
    link,
    no_subject,
    not_personal,
    person_ref,
    personal,
    subject,
)

KEPT_YEARS = "3 years"


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class ResourceKind(StrEnum):
    ROOM = "room"
    DESK = "desk"
    EQUIPMENT = "equipment"


class State(StrEnum):
    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    DENIED = "denied"
    CANCELLED = "cancelled"


# States that keep others out of the slot.
BLOCKING = (State.REQUESTED, State.CONFIRMED)
UPCOMING = BLOCKING


def _names(enum: type[StrEnum]) -> Enum:
    return Enum(enum, native_enum=False, length=32, values_callable=lambda e: [m.value for m in e])


class Location(TenantRow, Base):
    __tablename__ = "locations"
    __table_args__ = ({"info": no_subject("places of the operator")},)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    name: Mapped[str] = mapped_column(info=not_personal("name of a place"))
    address: Mapped[str] = mapped_column(info=not_personal("address of a place"))
    time_zone: Mapped[str] = mapped_column(info=not_personal("IANA zone"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class OpeningPeriod(TenantRow, Base):
    """One opening of a weekday (0 = Monday), in the location's local time; a day may have several."""

    __tablename__ = "opening_periods"
    __table_args__ = (
        CheckConstraint("weekday BETWEEN 0 AND 6 AND opens < closes", name="period"),
        {"info": no_subject("opening hours")},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    location_id: Mapped[UUID] = mapped_column(
        ForeignKey("locations.id", ondelete="CASCADE"), index=True, info=not_personal("location")
    )
    weekday: Mapped[int] = mapped_column(info=not_personal("weekday"))
    opens: Mapped[time] = mapped_column(info=not_personal("local time"))
    closes: Mapped[time] = mapped_column(info=not_personal("local time"))


class Closure(TenantRow, Base):
    """A day on which a location stays closed: a public holiday, works."""

    __tablename__ = "closures"
    __table_args__ = (UniqueConstraint("location_id", "on"), {"info": no_subject("closed days")})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    location_id: Mapped[UUID] = mapped_column(
        ForeignKey("locations.id", ondelete="CASCADE"), info=not_personal("location")
    )
    on: Mapped[date] = mapped_column(info=not_personal("date"))


class Resource(TenantRow, Base):
    """A room, desk or piece of equipment; `units` of it can be reserved at the same time."""

    __tablename__ = "resources"
    __table_args__ = (
        CheckConstraint("units > 0 AND step_minutes > 0 AND min_minutes <= max_minutes", name="limits"),
        CheckConstraint("hourly_price_minor >= 0 AND vat_rate_bp BETWEEN 0 AND 10000", name="price"),
        {"info": no_subject("what can be reserved")},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    location_id: Mapped[UUID] = mapped_column(ForeignKey("locations.id"), index=True, info=not_personal("location"))
    name: Mapped[str] = mapped_column(info=not_personal("name of a resource"))
    kind: Mapped[ResourceKind] = mapped_column(_names(ResourceKind), info=not_personal("enum"))
    capacity: Mapped[int] = mapped_column(info=not_personal("count"))
    units: Mapped[int] = mapped_column(default=1, info=not_personal("count"))
    hourly_price_minor: Mapped[int] = mapped_column(info=not_personal("amount, VAT included"))
    currency: Mapped[str] = mapped_column(default="EUR", info=not_personal("ISO 4217"))
    vat_rate_bp: Mapped[int] = mapped_column(default=2000, info=not_personal("basis points"))
    buffer_minutes: Mapped[int] = mapped_column(default=0, info=not_personal("policy"))
    min_minutes: Mapped[int] = mapped_column(default=30, info=not_personal("policy"))
    max_minutes: Mapped[int] = mapped_column(default=480, info=not_personal("policy"))
    step_minutes: Mapped[int] = mapped_column(default=30, info=not_personal("policy"))
    ahead_days: Mapped[int] = mapped_column(default=365, info=not_personal("policy"))
    free_cancellation_hours: Mapped[int] = mapped_column(default=24, info=not_personal("policy"))
    needs_approval: Mapped[bool] = mapped_column(default=False, info=not_personal("policy"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))


class Reservation(TenantRow, Base):
    """A resource for somebody for a time. `blocked` is the half-open time with its buffers; price and terms are frozen."""

    __tablename__ = "reservations"
    __table_args__ = (
        ExcludeConstraint(
            ("tenant_id", "="),
            ("resource_id", "="),
            ("unit_no", "="),
            ("blocked", "&&"),
            where=text("state IN ('requested', 'confirmed')"),
            using="gist",
            name="no_double_booking",
        ),
        CheckConstraint("starts_at < ends_at", name="time"),
        Index("ix_reservations_account", "account_id", "starts_at"),
        Index("ix_reservations_list", "tenant_id", "starts_at", "id"),
        {
            "info": subject(
                "account_id",
                row=Row.KEEP,
                orphan="figures of use without a person",
                sweep=Sweep(
                    KEPT_YEARS,
                    f"account_id IS NOT NULL AND ends_at < :now - interval '{KEPT_YEARS}'",
                    action="erase",
                ),
            )
        },
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resources.id"), info=not_personal("resource"))
    unit_no: Mapped[int] = mapped_column(info=not_personal("unit"))
    account_id: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
    starts_at: Mapped[datetime] = mapped_column(info=not_personal("instant of a use without a person"))
    ends_at: Mapped[datetime] = mapped_column(info=not_personal("instant of a use without a person"))
    blocked: Mapped[Range[datetime]] = mapped_column(TSTZRANGE, info=not_personal("time with buffers"))
    state: Mapped[State] = mapped_column(_names(State), info=not_personal("enum"))
    note: Mapped[str | None] = mapped_column(
        info=personal(
            "content.reservation_note",
            erase=Erase.NULL,
            export=Export.PORTABLE,
            purpose="reservation",
            basis="contract",
            keep=KEPT_YEARS,
        )
    )
    price_minor: Mapped[int] = mapped_column(info=not_personal("amount, VAT included"))
    currency: Mapped[str] = mapped_column(info=not_personal("ISO 4217"))
    vat_rate_bp: Mapped[int] = mapped_column(info=not_personal("basis points"))
    order_id: Mapped[UUID | None] = mapped_column(info=link("billing.order"))
    decided_by: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
    cancelled_for: Mapped[CancelReason | None] = mapped_column(_names(CancelReason), info=not_personal("enum"))
    refund_minor: Mapped[int] = mapped_column(default=0, info=not_personal("amount"))
    free_until: Mapped[datetime] = mapped_column(info=not_personal("instant of a use without a person"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))
