"""What other services show of a reservation: the resource's name and the time, nothing about its person."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.models import Reservation, Resource


async def label_reservations(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
    """Return {id: {text, url}} with one statement; ids that do not exist are left out."""
    columns = select(Reservation.id, Resource.name, Reservation.starts_at).join(
        Resource, Resource.id == Reservation.resource_id
    )
    rows = await session.execute(columns.where(Reservation.id.in_(ids)))
    return {
        row.id: {"text": f"{row.name}, {row.starts_at:%Y-%m-%d %H:%M} UTC", "url": f"/reservations/{row.id}"}
        for row in rows
    }
