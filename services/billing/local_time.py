"""The space's own clock: documents are dated, and reservations named, as its people read the time."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import tenant_of
from shared.privacy.tables import tenants


async def zone_of(session: AsyncSession) -> ZoneInfo:
    """Return the time zone of the transaction's tenant."""
    known = select(tenants.c.time_zone).where(tenants.c.tenant_id == tenant_of(session))
    return ZoneInfo((await session.execute(known)).scalar_one())


async def local_day(session: AsyncSession, now: datetime) -> date:
    """Return which day it is in the space at `now`."""
    return now.astimezone(await zone_of(session)).date()
