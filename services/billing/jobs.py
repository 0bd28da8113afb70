"""What billing does on a schedule."""

from uuid import UUID

import structlog

from services.billing.invoicing import invoice_due
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

log = structlog.get_logger()
jobs = Schedule()


@jobs.every(seconds=2)
async def invoice_due_orders(service: Service) -> None:
    """A batch of each space in turn. One that fails keeps no other waiting, and waits itself for the next run.

    Raises ExceptionGroup at the end, so that a run in which a space has failed does not count as one that succeeded.
    """
    failed: dict[UUID, Exception] = {}
    while [tenant_id for tenant_id in await _due(service) if await _invoice(service, tenant_id, failed)]:
        continue
    if failed:
        raise ExceptionGroup("spaces without their invoices", list(failed.values()))


async def _due(service: Service) -> list[UUID]:
    return await tenant_ids(service.database, queue="ix_orders_due")


async def _invoice(service: Service, tenant_id: UUID, failed: dict[UUID, Exception]) -> int:
    if tenant_id in failed:
        return 0
    try:
        return await invoice_due(service.database, service.internal, tenant_id, now=utc_now())
    except Exception as error:
        # Whatever it is: a space that cannot be invoiced must not be why others are not.
        log.error("invoicing.failed", tenant_id=str(tenant_id), exc_info=error)
        failed[tenant_id] = error
        return 0
