"""What notify does on a schedule."""

from typing import cast
from uuid import UUID

from services.notify.sending import Sender
from services.notify.settings import Settings
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(seconds=1)
async def send_mails(service: Service) -> None:
    """A batch of each space in turn: one that sends to everybody does not keep the others waiting."""
    sender = _sender(service)
    while [tenant_id for tenant_id in await _open(service) if await sender.send_waiting(tenant_id)]:
        continue


@jobs.every(minutes=1)
async def recover_stranded_mails(service: Service) -> None:
    for tenant_id in await _open(service):
        await _sender(service).recover(tenant_id)


async def _open(service: Service) -> list[UUID]:
    return await tenant_ids(service.database, active_only=True, queue="ix_deliveries_open")


def _sender(service: Service) -> Sender:
    return Sender(service.database, service.internal, cast(Settings, service.settings))
