"""Published by booking. Prices are integer minor units of `currency` (ISO 4217), VAT included."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.bus.contracts import AccountId, Event, Label, event


class CancelReason(StrEnum):
    MEMBER = "member"
    MANAGER = "manager"
    ACCOUNT_DEACTIVATED = "account_deactivated"
    TENANT_DEACTIVATED = "tenant_deactivated"
    HOLD_EXPIRED = "hold_expired"
    DENIED = "denied"


@event("booking.reservation.requested.v1", key="reservation_id")
class ReservationRequested(Event):
    reservation_id: UUID
    resource_id: UUID
    account_id: AccountId
    starts_at: datetime
    ends_at: datetime


@event("booking.reservation.confirmed.v1", key="reservation_id")
class ReservationConfirmed(Event):
    """Confirmed at a frozen price; billing opens order `order_id` for it when `price_minor` > 0."""

    reservation_id: UUID
    resource_id: UUID
    account_id: AccountId
    order_id: UUID
    starts_at: datetime
    ends_at: datetime
    price_minor: int
    currency: Label
    vat_rate_bp: int


@event("booking.reservation.cancelled.v1", key="reservation_id")
class ReservationCancelled(Event):
    """`refund_minor` of the price is to be credited on order `order_id` (the account may be erased by then)."""

    reservation_id: UUID
    account_id: AccountId | None
    order_id: UUID
    starts_at: datetime
    reason: CancelReason
    refund_minor: int
    currency: Label
