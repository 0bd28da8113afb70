"""What the marks cannot say: whoever goes gives back the slots that they have not used."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.actions.reservations import cancel_all_upcoming, cancel_upcoming, publish_cancelled
from shared.db import utc_now
from shared.events.booking import CancelReason
from shared.privacy.hooks import PersonalData


async def free_upcoming_slots(session: AsyncSession, accounts: Sequence[UUID]) -> None:
    """Cancel upcoming reservations while they still know their order, so that billing credits the right party."""
    reason = CancelReason.ACCOUNT_DEACTIVATED
    cancelled = await cancel_upcoming(session, accounts, reason=reason, now=utc_now())
    await publish_cancelled(session, cancelled, reason)


async def free_all_upcoming_slots(session: AsyncSession, held: Sequence[UUID]) -> None:
    """A whole tenant publishes nothing per account: there is nobody left to credit or to tell."""
    await cancel_all_upcoming(session, held, reason=CancelReason.TENANT_DEACTIVATED, now=utc_now())


PERSONAL_DATA = PersonalData(before_erasure=free_upcoming_slots, before_tenant_erasure=free_all_upcoming_slots)
