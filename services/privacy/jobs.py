"""What privacy does on a schedule."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import cast

import structlog
from prometheus_client import Gauge
from sqlalchemy import delete, func, select

from services.privacy.actions import cases
from services.privacy.exports import collect_waiting, delete_unnamed
from services.privacy.ledger import Entry, Ledger, open_ledger
from services.privacy.models import OldLedgerEntry
from services.privacy.settings import Settings
from services.privacy.verification import advance_cases
from shared.db import Database, utc_now
from shared.events.identity import ContentChoice
from shared.privacy.retention import tenant_ids
from shared.privacy.tables import holds
from shared.schedule import Schedule
from shared.service import Service
from shared.telemetry import REGISTRY

log = structlog.get_logger()
jobs = Schedule()
OPEN = Gauge("cowork_erasures_open", "Erasure cases that are not completed", registry=REGISTRY)
OLDEST = Gauge("cowork_erasure_oldest_open_seconds", "Age of the oldest erasure case that is open", registry=REGISTRY)
OPEN_CASES = "ix_cases_open"
# An entry outlives the oldest backup by so much: a restore that takes long still finds it.
LEDGER_MARGIN = timedelta(days=30)


@jobs.every(seconds=1)
async def advance_open_cases(service: Service) -> None:
    redrive_after = timedelta(seconds=_settings(service).redrive_seconds)
    async with _ledger(service) as ledger:
        for tenant_id in await tenant_ids(service.database, queue=OPEN_CASES):
            await advance_cases(
                service.database, service.internal, tenant_id, ledger=ledger, redrive_after=redrive_after
            )


@jobs.every(seconds=30)
async def measure_open_cases(service: Service) -> None:
    """Say how many erasures are open, and since when: what alerts compare with the legal limit."""
    commanded: list[datetime] = []
    for tenant_id in await tenant_ids(service.database, queue=OPEN_CASES):
        async with service.database.transaction(tenant_id) as session:
            commanded += [case.commanded_at for case in await cases.open_cases(session)]
    OPEN.set(len(commanded))
    OLDEST.set((utc_now() - min(commanded)).total_seconds() if commanded else 0)


@jobs.every(seconds=2)
async def collect_exports(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True, queue="ix_exports_waiting"):
        await collect_waiting(service.database, service.internal, service.files, tenant_id)


@jobs.every(hours=1)
async def delete_unnamed_exports(service: Service) -> None:
    if count := await delete_unnamed(service.database, service.files):
        log.warning("export.files_unnamed", count=count)


@jobs.every(hours=24)
async def report_due_reviews(service: Service) -> None:
    """A hold stays until an officer lifts it: say each day which spaces have one whose review is due."""
    due = select(holds.c.tenant_id, func.count()).where(holds.c.review_on <= func.current_date())
    async with service.database.transaction() as session:
        found = (await session.execute(due.group_by(holds.c.tenant_id))).tuples().all()
    for tenant_id, count in found:
        log.error("hold.review_due", tenant_id=str(tenant_id), count=count)


@jobs.every(hours=24)
async def tend_ledger(service: Service) -> None:
    """Seal where the chain stands and delete the entries that no backup needs any more."""
    async with _ledger(service) as ledger:
        while await move_old_entries(service.database, ledger):
            await asyncio.sleep(0)
        await ledger.mark()
        kept = timedelta(days=_settings(service).backup_days) + LEDGER_MARGIN
        await ledger.prune(before=utc_now() - kept)


async def move_old_entries(database: Database, ledger: Ledger, *, limit: int = 500) -> int:
    """Move entries of this service's own database into the ledger's; return how many. A crash between repeats it."""
    oldest = select(OldLedgerEntry).order_by(OldLedgerEntry.position).limit(limit)
    async with database.transaction() as session:
        old = (await session.scalars(oldest)).all()
    if not old:
        return 0
    # What the person chose was not written down then: erasing too much after a restore is the lesser harm.
    await ledger.append(*(Entry(one.subject_hmac, one.outcome, ContentChoice.REMOVE, one.erased_at) for one in old))
    async with database.transaction() as session:
        moved = OldLedgerEntry.position.in_([one.position for one in old])
        await session.execute(delete(OldLedgerEntry).where(moved))
    return len(old)


def _ledger(service: Service) -> AbstractAsyncContextManager[Ledger]:
    settings = _settings(service)
    return open_ledger(settings.ledger_key.get_secret_value(), settings.ledger_url.get_secret_value())


def _settings(service: Service) -> Settings:
    return cast(Settings, service.settings)
