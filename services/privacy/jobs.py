"""What privacy does on a schedule."""

from datetime import datetime, timedelta
from typing import cast

from prometheus_client import Gauge

from services.privacy.actions import cases
from services.privacy.exports import collect_waiting
from services.privacy.ledger import Ledger
from services.privacy.settings import Settings
from services.privacy.verification import advance_cases
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service
from shared.telemetry import REGISTRY

jobs = Schedule()
OPEN = Gauge("cowork_erasures_open", "Erasure cases that are not completed", registry=REGISTRY)
OLDEST = Gauge("cowork_erasure_oldest_open_seconds", "Age of the oldest erasure case that is open", registry=REGISTRY)


@jobs.every(seconds=1)
async def advance_open_cases(service: Service) -> None:
    settings = cast(Settings, service.settings)
    ledger = Ledger(settings.ledger_key.get_secret_value())
    redrive_after = timedelta(seconds=settings.redrive_seconds)
    for tenant_id in await tenant_ids(service.database):
        await advance_cases(service.database, service.internal, tenant_id, ledger=ledger, redrive_after=redrive_after)


@jobs.every(seconds=30)
async def measure_open_cases(service: Service) -> None:
    """Say how many erasures are open, and since when: what alerts compare with the legal limit."""
    commanded: list[datetime] = []
    for tenant_id in await tenant_ids(service.database):
        async with service.database.transaction(tenant_id) as session:
            commanded += [case.commanded_at for case in await cases.open_cases(session)]
    OPEN.set(len(commanded))
    OLDEST.set((utc_now() - min(commanded)).total_seconds() if commanded else 0)


@jobs.every(seconds=2)
async def collect_exports(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True):
        await collect_waiting(service.database, service.internal, service.files, tenant_id)
