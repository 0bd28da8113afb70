"""What billing does on a schedule."""

from uuid import UUID

from services.billing.invoicing import invoice_due
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(seconds=2)
async def invoice_due_orders(service: Service) -> None:
    """A batch of each space in turn."""
    while [tenant_id for tenant_id in await _due(service) if await _invoice(service, tenant_id)]:
        continue


async def _due(service: Service) -> list[UUID]:
    return await tenant_ids(service.database, queue="ix_orders_due")


async def _invoice(service: Service, tenant_id: UUID) -> int:
    return await invoice_due(service.database, service.internal, tenant_id, now=utc_now())
