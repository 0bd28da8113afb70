"""What billing does on a schedule."""

from services.billing.invoicing import invoice_due
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(seconds=2)
async def invoice_due_orders(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database):
        while await invoice_due(service.database, service.internal, tenant_id, now=utc_now()):
            continue
