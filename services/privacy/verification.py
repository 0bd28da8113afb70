"""Driving open cases to their end: ask late services again, verify every answer, complete. Never cancels one."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy.exc import DBAPIError

from services.privacy.actions import cases
from services.privacy.ledger import Entry, Ledger
from services.privacy.models import Case, CaseState
from shared.bus.crash import crash
from shared.db import Database, utc_now
from shared.internal import Internal
from shared.problems import BadGateway, NotFound
from shared.telemetry import REGISTRY

log = structlog.get_logger()
LEDGER_WAITS = Counter(
    "cowork_erasure_ledger_waits_total", "Completions that the ledger's database did not take", registry=REGISTRY
)
# Cases that each service verifies in one answer, and that the ledger takes in one transaction.
TOGETHER = 100


async def advance_cases(
    database: Database, internal: Internal, tenant_id: UUID, *, ledger: Ledger, redrive_after: timedelta
) -> None:
    """Take every case of a tenant that does not merely wait for answers one step further."""
    due = await _press(database, tenant_id, redrive_after)
    answered = [case for case in due if case.state is CaseState.VERIFYING]
    # A whole tenant is counted for longer than a person is looked for, and must not hold anybody up.
    people = [case for case in answered if not case.is_tenant]
    batches = [people[first : first + TOGETHER] for first in range(0, len(people), TOGETHER)]
    for batch in [*batches, *([case] for case in answered if case.is_tenant)]:
        await _verify(database, internal, tenant_id, batch, ledger)


async def _press(database: Database, tenant_id: UUID, redrive_after: timedelta) -> Sequence[Case]:
    """Ask late services again, report what is late for long, and return all cases that are due."""
    now = utc_now()
    async with database.transaction(tenant_id) as session:
        due = await cases.due_cases(session, redrive_after=redrive_after, now=now)
        late = [(case, await cases.redrive_late(session, case, after=redrive_after, now=now)) for case in due]
        reported = [(case, await cases.note_escalation(session, case, now=now)) for case in due]
    for case, services in late:
        if services:
            log.warning("erasure.redriven", case_id=str(case.id), count=len(services))
    for case, days in reported:
        if days is not None:
            log.error("erasure.late", case_id=str(case.id), state=case.state, count=days)
    return due


async def _verify(
    database: Database, internal: Internal, tenant_id: UUID, answered: Sequence[Case], ledger: Ledger
) -> None:
    async with database.transaction(tenant_id) as session:
        asked = await cases.asked_of(session, [case.id for case in answered])
    answers = await asyncio.gather(*(_remaining_at(internal, tenant_id, *one) for one in asked.items()))
    remaining = dict(zip(asked, answers, strict=True))
    # The next round asks once more where somebody has not answered, or does not know a case.
    waiting = {case_id for service, ids in asked.items() for case_id in ids if case_id not in remaining[service]}
    for case_id in waiting:
        log.info("erasure.verification_waits", case_id=str(case_id))
    verified = [case for case in answered if case.id not in waiting]
    if not verified:
        return
    found = [
        (case.id, service, left[case.id]) for service, left in remaining.items() for case in verified if case.id in left
    ]
    async with database.transaction(tenant_id) as session:
        await cases.note_remaining(session, found)
        entries = await cases.entries_of(session, verified, ledger, now=utc_now())
    completed = await complete_cases(database, tenant_id, ledger, entries) if entries else 0
    log.info("erasure.verified", total=len(verified), done=completed, count=sum(count for _, _, count in found))


async def _remaining_at(internal: Internal, tenant_id: UUID, service: str, case_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return what a service's post-conditions still find of those cases that it knows; nothing while it is away."""
    try:
        found = await internal.post(
            service, "verifications", {"case_ids": [str(one) for one in case_ids]}, tenant_id=tenant_id
        )
    except (BadGateway, NotFound) as error:
        # Away, or of a release that does not know the question.
        log.info("erasure.service_does_not_verify", reason=service, total=len(case_ids), exc_info=error)
        return {}
    return {UUID(case_id): int(left) for case_id, left in found.items()}


async def complete_cases(database: Database, tenant_id: UUID, ledger: Ledger, entries: Mapping[UUID, Entry]) -> int:
    """Write the ledger, then complete its cases, and return how many: two databases, and between them nothing that could
    not be done again."""
    try:
        await ledger.append(*entries.values())
    except (DBAPIError, OSError) as error:
        # The cases stay as they are; the next round verifies and tries again.
        LEDGER_WAITS.inc(len(entries))
        log.error("erasure.ledger_waits", total=len(entries), exc_info=error)
        return 0
    crash("case.after_ledger")
    completed = 0
    for case_id in entries:
        try:
            async with database.transaction(tenant_id) as session:
                completed += await cases.complete(session, case_id, now=utc_now())
        except DBAPIError as error:
            # The ledger knows it already, and takes it no second time; the next round completes it.
            log.warning("erasure.completion_waits", case_id=str(case_id), exc_info=error)
    return completed
