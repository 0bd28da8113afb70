"""What notify does on a schedule."""

from typing import cast

from services.notify.sending import Sender
from services.notify.settings import Settings
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(seconds=1)
async def send_mails(service: Service) -> None:
    sender = _sender(service)
    for tenant_id in await tenant_ids(service.database, active_only=True):
        while await sender.send_waiting(tenant_id):
            continue


@jobs.every(minutes=1)
async def recover_stranded_mails(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True):
        await _sender(service).recover(tenant_id)


def _sender(service: Service) -> Sender:
    return Sender(service.database, service.internal, cast(Settings, service.settings))
