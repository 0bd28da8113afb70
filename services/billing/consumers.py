"""Events in: what is reserved is ordered, what is cancelled is credited. Billing knows orders, not accounts."""

from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.credit_notes import credit_order
from services.billing.actions.orders import place_order
from services.billing.local_time import zone_of
from services.billing.models import Nature, OrderOrigin
from shared.bus import Consumers
from shared.db import utc_now, wake_after_commit
from shared.events.booking import ReservationCancelled, ReservationConfirmed

consumers = Consumers("billing")


@consumers.on(ReservationConfirmed)
async def order_reservation(session: AsyncSession, event: ReservationConfirmed) -> None:
    if event.price_minor == 0:
        return
    zone = await zone_of(session)
    starts_at, ends_at = event.starts_at.astimezone(zone), event.ends_at.astimezone(zone)
    line = {
        "text": f"Réservation / Reservation {starts_at:%Y-%m-%d %H:%M}–{ends_at:%H:%M}",
        "quantity": 1,
        "unit_minor": event.price_minor,
        "vat_rate_bp": event.vat_rate_bp,
        "nature": Nature.SERVICES,
    }
    await place_order(
        session,
        event.account_id,
        origin=OrderOrigin.RESERVATION,
        currency=event.currency,
        lines=[line],
        order_id=event.order_id,
    )
    wake_after_commit(session, "invoice_due_orders")


@consumers.on(ReservationCancelled)
async def credit_reservation(session: AsyncSession, event: ReservationCancelled) -> None:
    await credit_order(session, event.order_id, refund_minor=event.refund_minor, now=utc_now())
