"""What privacy does on a schedule."""

from datetime import timedelta
from typing import cast

from services.privacy.exports import collect_waiting
from services.privacy.ledger import Ledger
from services.privacy.settings import Settings
from services.privacy.verification import advance_cases
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(seconds=1)
async def advance_open_cases(service: Service) -> None:
    settings = cast(Settings, service.settings)
    ledger = Ledger(settings.ledger_key.get_secret_value())
    redrive_after = timedelta(seconds=settings.redrive_seconds)
    for tenant_id in await tenant_ids(service.database):
        await advance_cases(service.database, service.internal, tenant_id, ledger=ledger, redrive_after=redrive_after)


@jobs.every(seconds=2)
async def collect_exports(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True):
        await collect_waiting(service.database, service.internal, service.files, tenant_id)
