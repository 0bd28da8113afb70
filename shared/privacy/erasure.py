"""Erasing an account or a tenant: lock, tombstone, plan, redaction, receipt; each service on its own."""

from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import publish
from shared.bus.crash import crash
from shared.bus.redaction import redact_subjects, redact_tenant
from shared.db import Database, tenant_of
from shared.events.erasure import RECEIPTS, Outcome, RetainedRows, RuleCount
from shared.events.identity import AccountDeactivated, ContentChoice, TenantDeactivated
from shared.events.privacy import CaseCompleted, ErasureRedriven
from shared.files import Files
from shared.privacy.hooks import PersonalData
from shared.privacy.manifest import Manifest
from shared.privacy.planner import ErasureIncomplete, Plan
from shared.privacy.tables import erasure_subjects, erasures, file_deletions, holds, tenants
from shared.privacy.tombstones import lay_tombstone, lock_subject
from shared.telemetry import ERASURE_SECONDS

log = structlog.get_logger()
BATCH_ACCOUNTS = 1000
# What names the account until its case completes: the deactivation itself and the receipts.
KEPT_UNTIL_COMPLETION = frozenset(
    {AccountDeactivated.type, TenantDeactivated.type, ErasureRedriven.type}
    | {contract.type for account, tenant, _ in RECEIPTS.values() for contract in (account, tenant)}
)


class Eraser:
    """One service's erasure, derived from its manifest."""

    def __init__(self, service: str, manifest: Manifest, personal_data: PersonalData) -> None:
        self.service = service
        self.manifest = manifest
        self.plan = Plan.of(manifest)
        self._personal_data = personal_data
        self._account_receipt, self._tenant_receipt, _ = RECEIPTS[service]

    async def erase_account(
        self, session: AsyncSession, *, account_id: UUID, case_id: UUID, content: ContentChoice, again: bool = False
    ) -> None:
        """Erase everything this service holds about an account and answer the case, in this transaction.

        The receipt waits for the last file deletion where there are files. A second call for an answered case
        does nothing unless `again`. Privacy by construction, docs/decisions/0004.
        """
        tenant_id = tenant_of(session)
        await lock_subject(session, tenant_id, account_id)
        await lay_tombstone(session, tenant_id, account_id)
        if not await self._open(session, case_id, account_id=account_id, content=content, again=again):
            return
        if await self._is_held(session, account_id):
            await self._answer(session, case_id, Outcome.ON_HOLD, [], [])
            return
        try:
            async with session.begin_nested():
                counts, retained = await self._erase(session, [account_id], case_id, content, is_tenant=False)
        except ErasureIncomplete as error:
            log.error("erasure.incomplete", case_id=str(case_id), rule=error.rule)
            await self._answer(session, case_id, Outcome.FAILED, [RuleCount(rule=error.rule, count=1)], [])
            return
        redacted = await redact_subjects(session, [account_id], keep_types=KEPT_UNTIL_COMPLETION)
        if redacted:
            counts.append(RuleCount(rule="event_log", count=redacted))
        known = (await session.execute(select(erasures).where(erasures.c.case_id == case_id))).one()
        await self._store(session, case_id, _merge(known.counts, counts), _merge_retained(known.retained, retained))
        crash("erasure.before_receipt")
        await self._answer_if_clean(session, case_id)

    async def start_tenant(self, session: AsyncSession, *, case_id: UUID) -> None:
        """Refuse the whole tenant from now on and list its accounts; `erase_batch` does the work in pieces."""
        tenant_id = tenant_of(session)
        await lock_subject(session, tenant_id, tenant_id)
        await lay_tombstone(session, tenant_id, tenant_id)
        await session.execute(update(tenants).where(tenants.c.tenant_id == tenant_id).values(is_active=False))
        if not await self._open(session, case_id, account_id=None, content=ContentChoice.REMOVE, again=False):
            return
        await self._list_accounts(session, case_id)

    async def redrive_tenant(self, session: AsyncSession, *, case_id: UUID) -> None:
        """List a tenant's remaining accounts again, so that batches and receipt are repeated; never while they run."""
        await self.start_tenant(session, case_id=case_id)
        answered = update(erasures).where(erasures.c.case_id == case_id, erasures.c.answered_at.is_not(None))
        reopened = await session.execute(
            answered.values(outcome=None, answered_at=None, done=0).returning(erasures.c.case_id)
        )
        if reopened.scalar() is not None:
            await self._list_accounts(session, case_id)

    async def erase_batch(self, database: Database) -> bool:
        """Erase up to BATCH_ACCOUNTS accounts of the tenant case that has waited longest; False when none waits.

        Each batch is one transaction; a crash loses none of the committed ones.
        """
        case = await _next_tenant_case(database)
        if case is None:
            return False
        case_id, tenant_id = case
        async with database.transaction(tenant_id) as session:
            row = (await session.execute(select(erasures).where(erasures.c.case_id == case_id).with_for_update())).one()
            batch = await _take_batch(session, case_id)
            if not batch:
                await self._close_tenant(session, case_id)
                return True
            counts, retained = await self._erase(session, batch, case_id, ContentChoice.REMOVE, is_tenant=True)
            await self._store(session, case_id, _merge(row.counts, counts), _merge_retained(row.retained, retained))
            progress = {"done": erasures.c.done + len(batch), "worked_at": func.now()}
            await session.execute(update(erasures).where(erasures.c.case_id == case_id).values(**progress))
            crash("tenant.before_commit")
        return True

    async def forget_case(self, session: AsyncSession, event: CaseCompleted) -> None:
        """The case is complete everywhere: forget the account id that the log and the case still name."""
        accounts = select(erasures.c.account_id).where(erasures.c.case_id == event.case_id)
        account_id = await session.scalar(accounts)
        if account_id is not None:
            await redact_subjects(session, [account_id], keep_types=())
        else:
            await redact_tenant(session, tenant_of(session), keep_types=(TenantDeactivated.type,))
        await session.execute(update(erasures).where(erasures.c.case_id == event.case_id).values(account_id=None))

    async def _erase(
        self, session: AsyncSession, accounts: Sequence[UUID], case_id: UUID, content: ContentChoice, *, is_tenant: bool
    ) -> tuple[list[RuleCount], list[RetainedRows]]:
        if self._personal_data.before_erasure is not None:
            await self._personal_data.before_erasure(session, accounts, is_tenant)
        return await self.plan.run(session, accounts, case_id=case_id, content=content)

    async def _open(
        self, session: AsyncSession, case_id: UUID, *, account_id: UUID | None, content: ContentChoice, again: bool
    ) -> bool:
        row = {
            "case_id": case_id,
            "tenant_id": tenant_of(session),
            "account_id": account_id,
            "is_tenant": account_id is None,
            "content": content,
        }
        opened = await session.execute(
            upsert(erasures).values(row).on_conflict_do_nothing().returning(erasures.c.case_id)
        )
        return opened.scalar() is not None or again

    async def _is_held(self, session: AsyncSession, account_id: UUID) -> bool:
        held = exists().where(holds.c.tenant_id == tenant_of(session), holds.c.account_id == account_id)
        return bool(await session.scalar(select(held)))

    async def _list_accounts(self, session: AsyncSession, case_id: UUID) -> None:
        accounts = await self.plan.tenant_accounts(session)
        rows = [{"case_id": case_id, "account_id": account} for account in accounts]
        if rows:
            await session.execute(upsert(erasure_subjects).on_conflict_do_nothing(), rows)
        await session.execute(update(erasures).where(erasures.c.case_id == case_id).values(total=len(rows)))

    async def _close_tenant(self, session: AsyncSession, case_id: UUID) -> None:
        await redact_tenant(session, tenant_of(session), keep_types=KEPT_UNTIL_COMPLETION)
        await self.plan.erase_orphans(session)
        found = await self.plan.tenant_remaining(session)
        if found:
            await self._answer(session, case_id, Outcome.FAILED, found, [])
            return
        await self._answer_if_clean(session, case_id)

    async def _store(
        self, session: AsyncSession, case_id: UUID, counts: dict[str, int], retained: list[dict[str, object]]
    ) -> None:
        statement = update(erasures).where(erasures.c.case_id == case_id)
        await session.execute(statement.values(counts=counts, retained=retained))

    async def _answer_if_clean(self, session: AsyncSession, case_id: UUID) -> None:
        """Publish the receipt unless files of the case still wait for their deletion."""
        waiting = exists().where(file_deletions.c.case_id == case_id)
        if await session.scalar(select(waiting)):
            return
        row = (await session.execute(select(erasures).where(erasures.c.case_id == case_id))).one()
        counts = [RuleCount(rule=rule, count=count) for rule, count in row.counts.items()]
        retained = [RetainedRows.model_validate(entry) for entry in row.retained]
        outcome = Outcome.RETAINED if retained else Outcome.DONE if counts else Outcome.NOTHING_HELD
        await self._answer(session, case_id, outcome, counts, retained)

    async def _answer(
        self,
        session: AsyncSession,
        case_id: UUID,
        outcome: Outcome,
        counts: list[RuleCount],
        retained: list[RetainedRows],
    ) -> None:
        statement = (
            update(erasures).where(erasures.c.case_id == case_id).values(outcome=outcome, answered_at=func.now())
        )
        row = (await session.execute(statement.returning(erasures))).one()
        common = {
            "tenant_id": row.tenant_id,
            "case_id": case_id,
            "manifest_digest": self.manifest.digest,
            "outcome": outcome,
            "counts": counts[:500],
            "retained": retained[:500],
        }
        if row.is_tenant:
            await publish(session, self._tenant_receipt(**common, accounts=row.done))
        else:
            await publish(session, self._account_receipt(**common, account_id=row.account_id))
        seconds = await session.scalar(
            text("SELECT extract(epoch FROM clock_timestamp() - :at)"), {"at": row.started_at}
        )
        ERASURE_SECONDS.labels(self.service).observe(float(seconds or 0))

    async def delete_files(self, database: Database, files: Files, *, limit: int = 200) -> int:
        """Delete files of committed erasures, then the rows that name them; answer the cases that waited for it."""
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
                if case_id is not None and await _is_unanswered(session, case_id):
                    await self._answer_if_clean(session, case_id)
        return len(rows)


async def _is_unanswered(session: AsyncSession, case_id: UUID) -> bool:
    """Lock the case and say whether its receipt is due: never while accounts of its tenant still wait."""
    statement = select(erasures.c.answered_at).where(erasures.c.case_id == case_id).with_for_update()
    answered_at = await session.scalar(statement)
    waiting = exists().where(erasure_subjects.c.case_id == case_id)
    return answered_at is None and not await session.scalar(select(waiting))


async def _next_tenant_case(database: Database) -> tuple[UUID, UUID] | None:
    open_cases = select(erasures.c.case_id, erasures.c.tenant_id).where(
        erasures.c.is_tenant, erasures.c.answered_at.is_(None)
    )
    # A tenant case whose accounts are done waits for its files only.
    waits_for_files = exists().where(file_deletions.c.case_id == erasures.c.case_id)
    has_accounts = exists().where(erasure_subjects.c.case_id == erasures.c.case_id)
    async with database.transaction() as session:
        statement = open_cases.where(has_accounts | ~waits_for_files).order_by(erasures.c.worked_at).limit(1)
        row = (await session.execute(statement)).one_or_none()
        return None if row is None else (row.case_id, row.tenant_id)


async def _take_batch(session: AsyncSession, case_id: UUID) -> list[UUID]:
    mine = erasure_subjects.c.case_id == case_id
    batch = (
        select(erasure_subjects.c.account_id).where(mine).order_by(erasure_subjects.c.account_id).limit(BATCH_ACCOUNTS)
    )
    statement = delete(erasure_subjects).where(mine, erasure_subjects.c.account_id.in_(batch))
    return list((await session.execute(statement.returning(erasure_subjects.c.account_id))).scalars())


def _merge(known: dict[str, int], more: list[RuleCount]) -> dict[str, int]:
    merged = dict(known)
    for entry in more:
        merged[entry.rule] = merged.get(entry.rule, 0) + entry.count
    return merged


def _merge_retained(known: list[dict[str, object]], more: list[RetainedRows]) -> list[dict[str, object]]:
    merged = {(row["rule"], row["ground"], row["until"]): row for row in known}
    for entry in more:
        row = entry.model_dump(mode="json")
        key = row["rule"], row["ground"], row["until"]
        merged[key] = {**row, "count": row["count"] + merged[key]["count"]} if key in merged else row
    return list(merged.values())
