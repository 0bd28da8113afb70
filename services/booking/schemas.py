"""What booking accepts and returns. Prices are integer minor units, VAT included; instants are UTC."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints, model_validator

from services.booking.models import ResourceKind, State
from shared.events.booking import CancelReason
from shared.http import In, Out

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
# For an hour, in minor units: what the longest reservation costs at this price still fits the column (four bytes).
LONGEST_MINUTES = 31 * 24 * 60
HIGHEST_PRICE = 2_500_000


def _in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


# Calendars end: within these bounds every zone, offset and limit of a resource can be added without leaving them. What
# is said with an offset is taken as the instant that it is.
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(2200, 1, 1))]
Instant = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC)),
    AfterValidator(_in_utc),
]


class LocationIn(In):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "République", "address": "10 rue du Temple, Paris", "time_zone": "Europe/Paris"}
        }
    )

    name: Name
    address: Annotated[str, StringConstraints(max_length=300)] = ""
    time_zone: Annotated[str, StringConstraints(max_length=64)]


class LocationOut(Out):
    id: UUID
    name: str
    address: str
    time_zone: str


class PeriodIn(In):
    weekday: int = Field(ge=0, le=6, description="0 = Monday")
    opens: time
    closes: time

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        # The zones first: a time with one cannot be compared with a time without.
        if self.opens.tzinfo or self.closes.tzinfo or self.opens >= self.closes:
            raise ValueError("opens before closes, both local times")
        if self.opens.second or self.opens.microsecond:
            raise ValueError("opens at a whole minute: slots start there")
        return self


class OpeningHoursIn(In):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"periods": [{"weekday": 0, "opens": "08:00", "closes": "20:00"}], "closed_on": ["2026-12-25"]}
        }
    )

    periods: list[PeriodIn] = Field(max_length=50)
    closed_on: list[date] = Field(default=[], max_length=400)


class ResourceIn(In):
    location_id: UUID
    name: Name
    kind: ResourceKind
    capacity: int = Field(1, ge=1, le=10_000)
    units: int = Field(1, ge=1, le=1000)
    hourly_price_minor: int = Field(ge=0, le=HIGHEST_PRICE)
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = "EUR"
    vat_rate_bp: int = Field(2000, ge=0, le=10_000, description="basis points: 2000 = 20 %")
    buffer_minutes: int = Field(0, ge=0, le=24 * 60)
    min_minutes: int = Field(30, ge=5, le=24 * 60)
    max_minutes: int = Field(480, ge=5, le=LONGEST_MINUTES)
    step_minutes: int = Field(30, ge=5, le=24 * 60)
    ahead_days: int = Field(365, ge=1, le=1000)
    free_cancellation_hours: int = Field(24, ge=0, le=10_000)
    needs_approval: bool = False

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.min_minutes > self.max_minutes:
            raise ValueError("min_minutes exceeds max_minutes")
        if self.max_minutes // self.step_minutes * self.step_minutes < self.min_minutes:
            raise ValueError("no whole step lies between min_minutes and max_minutes")
        return self


class ResourcePatch(In):
    name: Name | None = None
    hourly_price_minor: int | None = Field(None, ge=0, le=HIGHEST_PRICE)
    needs_approval: bool | None = None
    free_cancellation_hours: int | None = Field(None, ge=0, le=10_000)


class ResourceOut(Out):
    id: UUID
    location_id: UUID
    name: str
    kind: ResourceKind
    capacity: int
    units: int
    hourly_price_minor: int
    currency: str
    vat_rate_bp: int
    buffer_minutes: int
    min_minutes: int
    max_minutes: int
    step_minutes: int
    ahead_days: int
    free_cancellation_hours: int
    needs_approval: bool


class SlotOut(Out):
    starts_at: datetime
    ends_at: datetime


class PriceOut(Out):
    price_minor: int
    currency: str
    vat_rate_bp: int


class ReservationIn(In):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "resource_id": "01980000-0000-7000-8000-000000000001",
                "starts_at": "2026-12-01T09:00:00Z",
                "ends_at": "2026-12-01T11:00:00Z",
                "note": "needs a projector",
            }
        }
    )

    resource_id: UUID
    starts_at: Instant
    ends_at: Instant
    note: Annotated[str, StringConstraints(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.starts_at >= self.ends_at:
            raise ValueError("starts_at before ends_at")
        return self


class ReservationOut(Out):
    id: UUID
    resource_id: UUID
    account_id: UUID | None
    starts_at: datetime
    ends_at: datetime
    state: State
    note: str | None
    price_minor: int
    currency: str
    vat_rate_bp: int
    cancelled_for: CancelReason | None
    refund_minor: int
    free_until: datetime = Field(description="until then the member can cancel free of charge")
    created_at: datetime
