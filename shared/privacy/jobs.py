"""Jobs that every service runs: tenant erasure in batches, file deletions, the nightly sweep, its manifest."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import publish
from shared.db import utc_now
from shared.events.erasure import RECEIPTS
from shared.privacy import retention
from shared.schedule import Schedule
from shared.telemetry import PAST_DUE

if TYPE_CHECKING:
    from shared.service import Service

# The suite itself: what concerns no tenant travels under the nil UUID (RFC 9562).
SUITE = UUID(int=0)

# A tenant that goes has a month; those who stay are at work. The server is theirs for seven eighths of the time, so that
# pieces of several services seldom meet (docs/decisions/0026).
REST = 15.0

privacy_jobs = Schedule()


@privacy_jobs.every(seconds=2)
async def erase_tenants(service: "Service") -> None:
    """Work through waiting tenant cases, one batch of each in turn, for a while."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 60
    while loop.time() < until and await service.eraser.erase_batch(service.database, rest=REST):
        await asyncio.sleep(0)


@privacy_jobs.every(seconds=2)
async def delete_erased_files(service: "Service") -> None:
    while await service.eraser.delete_files(service.database, service.files):
        await asyncio.sleep(0)


@privacy_jobs.every(hours=24)
async def sweep_past_due(service: "Service") -> None:
    await retention.sweep(service.database, service.manifest, now=utc_now())
    due = await retention.preview(service.database, service.manifest, now=utc_now())
    PAST_DUE.labels(service.name).set(sum(entry.count for entry in due))


@privacy_jobs.every(hours=1)
async def publish_manifest(service: "Service") -> None:
    """Tell privacy what this service holds, whenever that has changed."""
    _, _, contract = RECEIPTS[service.name]
    async with service.database.transaction() as session:
        if await _is_published(session, service.manifest.digest):
            return
        await publish(session, contract(tenant_id=SUITE, service=service.name, digest=service.manifest.digest))


async def _is_published(session: AsyncSession, digest: str) -> bool:
    found = text(
        "SELECT EXISTS (SELECT FROM event_log WHERE type LIKE '%.manifest.published.v1' AND data->>'digest' = :digest)"
    )
    return bool(await session.scalar(found, {"digest": digest}))
