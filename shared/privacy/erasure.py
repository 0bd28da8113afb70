"""Erasing an account: lock, tombstone, plan, redaction, receipt; each service on its own."""

from uuid import UUID

import structlog
from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.crash import crash
from shared.bus.redaction import redact_subjects, redact_tenant
from shared.db import Database, fetch, savepoint, tenant_of
from shared.events.erasure import Outcome, RuleCount
from shared.events.identity import ContentChoice, TenantDeactivated
from shared.events.privacy import CaseCompleted
from shared.files import Files
from shared.privacy.cases import KEPT_UNTIL_COMPLETION, Cases, held_accounts
from shared.privacy.hooks import PersonalData
from shared.privacy.manifest import Manifest
from shared.privacy.planner import ErasureIncomplete, Plan
from shared.privacy.tables import erasures, file_deletions
from shared.privacy.tombstones import lay_tombstone, lock_subject
from shared.privacy.walk import TenantErasure

log = structlog.get_logger()
_CASE = "SELECT tenant_id, account_id, is_tenant FROM erasures WHERE case_id = $1"
_FORGET = "UPDATE erasures SET account_id = NULL WHERE case_id = $1"


class Eraser:
    """One service's erasure, derived from its manifest."""

    def __init__(self, service: str, manifest: Manifest, personal_data: PersonalData) -> None:
        self.service = service
        self.plan = Plan.of(manifest)
        self._personal_data = personal_data
        self._cases = Cases(service, manifest)
        self._tenants = TenantErasure(self._cases, self.plan, personal_data)

    async def erase_account(
        self, session: AsyncSession, *, account_id: UUID, case_id: UUID, content: ContentChoice, again: bool = False
    ) -> None:
        """Erase everything this service holds about an account and answer the case, in this transaction.

        The receipt waits for the last file deletion where there are files. A second call for a known case does
        nothing unless `again`, and never after the case is completed.
        """
        tenant_id = tenant_of(session)
        await lock_subject(session, tenant_id, account_id)
        await lay_tombstone(session, tenant_id, account_id)
        crash("erasure.after_tombstone")
        if not await self._cases.open(session, case_id, account_id=account_id, content=content, again=again):
            return
        if account_id in await held_accounts(session):
            await self._cases.answer(session, case_id, Outcome.ON_HOLD)
            return
        retained = await self.plan.retained_of(session, [account_id])
        counts = await self._erase(session, account_id, case_id, content)
        if counts is None:
            return
        if redacted := await redact_subjects(session, [account_id], keep_types=KEPT_UNTIL_COMPLETION):
            counts.append(RuleCount(rule="event_log", count=redacted))
        case = await self._cases.note(session, case_id, counts, retained)
        crash("erasure.before_receipt")
        await self._cases.answer_if_clean(session, case)

    async def start_tenant(self, session: AsyncSession, *, case_id: UUID, again: bool = False) -> None:
        """Refuse the whole tenant from now on; `erase_batch` does the work in pieces."""
        await self._tenants.start(session, case_id=case_id, again=again)

    async def erase_batch(self, database: Database, *, rest: float = 0) -> bool:
        """Do the next pieces of a tenant case, each in a transaction of its own; False when none waits.

        After each, pause for `rest` times as long as it has taken.
        """
        return await self._tenants.work(database, rest=rest)

    async def resume(self, session: AsyncSession, account_id: UUID) -> None:
        """A hold is lifted: go on with what has waited for it, the account's own case and its tenant's."""
        waiting = select(erasures).where(
            erasures.c.tenant_id == tenant_of(session),
            erasures.c.outcome == Outcome.ON_HOLD,
            or_(erasures.c.account_id == account_id, erasures.c.is_tenant),
        )
        for case in (await session.execute(waiting)).all():
            if case.is_tenant:
                await self.start_tenant(session, case_id=case.case_id, again=True)
            else:
                content = ContentChoice(case.content)
                await self.erase_account(
                    session, account_id=account_id, case_id=case.case_id, content=content, again=True
                )

    async def forget_case(self, session: AsyncSession, event: CaseCompleted) -> None:
        """The case is complete everywhere: forget the account id that the log and the case still name."""
        for case in await fetch(session, _CASE, event.case_id):
            if case["is_tenant"]:
                await redact_tenant(session, case["tenant_id"], keep_types=(TenantDeactivated.type,))
            elif case["account_id"] is not None:
                await redact_subjects(session, [case["account_id"]], keep_types=())
            await fetch(session, _FORGET, event.case_id)

    async def delete_files(self, database: Database, files: Files, *, limit: int = 200) -> int:
        """Delete files of committed erasures, then the rows that name them; answer the accounts' cases that waited."""
        async with database.transaction() as session:
            columns = select(file_deletions.c.id, file_deletions.c.path, file_deletions.c.case_id, erasures.c.tenant_id)
            joined = columns.join(erasures, erasures.c.case_id == file_deletions.c.case_id, isouter=True)
            rows = (await session.execute(joined.order_by(file_deletions.c.id).limit(limit))).all()
        for row in rows:
            await files.delete(row.path)
        crash("erasure.after_files")
        for case_id, tenant_id in {(row.case_id, row.tenant_id) for row in rows}:
            done = [row.id for row in rows if row.case_id == case_id]
            async with database.transaction(tenant_id) as session:
                await session.execute(delete(file_deletions).where(file_deletions.c.id.in_(done)))
                if case_id is not None and await _awaits_files(session, case_id):
                    await self._cases.answer_if_clean(session, await self._cases.note(session, case_id, []))
        return len(rows)

    async def _erase(
        self, session: AsyncSession, account_id: UUID, case_id: UUID, content: ContentChoice
    ) -> list[RuleCount] | None:
        """Run the plan; None when a post-condition does not hold: nothing is changed and the case answered FAILED."""
        try:
            async with savepoint(session):
                if self._personal_data.before_erasure is not None:
                    await self._personal_data.before_erasure(session, [account_id])
                return await self.plan.run(session, [account_id], case_id=case_id, content=content)
        except ErasureIncomplete as error:
            log.error("erasure.incomplete", case_id=str(case_id), rule=error.rule)
            await self._cases.answer(session, case_id, Outcome.FAILED, [RuleCount(rule=error.rule, count=error.count)])
            return None


async def _awaits_files(session: AsyncSession, case_id: UUID) -> bool:
    """Lock an account's case and say whether its receipt is due; a tenant's is closed by `erase_batch`."""
    mine = select(erasures.c.case_id).where(erasures.c.case_id == case_id, ~erasures.c.is_tenant)
    return await session.scalar(mine.where(erasures.c.answered_at.is_(None)).with_for_update()) is not None
