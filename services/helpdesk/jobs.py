"""What the help desk does on a schedule."""

from services.helpdesk.actions.tickets import close_solved
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(hours=1)
async def close_solved_tickets(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True):
        async with service.database.transaction(tenant_id) as session:
            await close_solved(session, now=utc_now())
