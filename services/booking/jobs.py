"""What booking does on a schedule."""

from services.booking.actions.reservations import complete_past, expire_requests
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(minutes=5)
async def complete_past_reservations(service: Service) -> None:
    """Complete what is over and end the requests that were never decided: both wait for nothing but the clock."""
    for tenant_id in await tenant_ids(service.database, active_only=True):
        async with service.database.transaction(tenant_id) as session:
            await complete_past(session, now=utc_now())
            await expire_requests(session, now=utc_now())
