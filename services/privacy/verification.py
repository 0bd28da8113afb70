"""Driving open cases to their end: ask late services again, verify every answer, complete. Never cancels one."""

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


async def advance_cases(
    database: Database, internal: Internal, tenant_id: UUID, *, ledger: Ledger, redrive_after: timedelta
) -> None:
    """Take every open case of a tenant one step further."""
    async with database.transaction(tenant_id) as session:
        open_ = list(await cases.open_cases(session))
    for case in open_:
        if case.state is CaseState.VERIFYING:
            await _verify(database, internal, case, ledger)
        else:
            await _press(database, case, redrive_after)


async def _press(database: Database, case: Case, redrive_after: timedelta) -> None:
    async with database.transaction(case.tenant_id) as session:
        now = utc_now()
        late = await cases.redrive_late(session, case, after=redrive_after, now=now)
        days = await cases.note_escalation(session, case, now=now)
    if late:
        log.warning("erasure.redriven", case_id=str(case.id), count=len(late))
    if days is not None:
        log.error("erasure.late", case_id=str(case.id), count=days)


async def _verify(database: Database, internal: Internal, case: Case, ledger: Ledger) -> None:
    async with database.transaction(case.tenant_id) as session:
        services = [answer.service for answer in await cases.answers_of(session, case.id)]
    remaining: dict[str, int] = {}
    for service in services:
        try:
            found = await internal.get(service, f"erasures/{case.id}/verification", tenant_id=case.tenant_id)
        except (BadGateway, NotFound) as error:
            # It answered, so it will answer again: the next round asks once more.
            log.info("erasure.verification_waits", case_id=str(case.id), exc_info=error)
            return
        remaining[service] = int(found["remaining"])
    async with database.transaction(case.tenant_id) as session:
        await cases.note_remaining(session, case.id, remaining)
        entry = await cases.entry_of(session, case, ledger, now=utc_now())
    completed = entry is not None and await complete_case(database, case, ledger, entry)
    log.info("erasure.verified", case_id=str(case.id), done=int(completed), count=sum(remaining.values()))


async def complete_case(database: Database, case: Case, ledger: Ledger, entry: Entry) -> bool:
    """Write the ledger, then complete the case: two databases, and between them nothing that could not be done again."""
    try:
        await ledger.append(entry)
    except (DBAPIError, OSError) as error:
        # The case stays as it is; the next round verifies and tries again, and other cases go on meanwhile.
        LEDGER_WAITS.inc()
        log.error("erasure.ledger_waits", case_id=str(case.id), exc_info=error)
        return False
    crash("case.after_ledger")
    async with database.transaction(case.tenant_id) as session:
        return await cases.complete(session, case.id, now=utc_now())
