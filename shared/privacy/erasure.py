"""Erasing an account or a tenant: lock, tombstone, plan, redaction, receipt; each service on its own."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import publish
from shared.bus.crash import crash
from shared.bus.redaction import redact_subjects, redact_tenant
from shared.db import Database, tenant_of, utc_now
from shared.events.erasure import RECEIPTS, Outcome, RetainedRows, RuleCount
from shared.events.identity import AccountDeactivated, ContentChoice, TenantDeactivated
from shared.events.privacy import CaseCompleted, ErasureRedriven
from shared.files import Files
from shared.privacy.hooks import PersonalData
from shared.privacy.manifest import Manifest
from shared.privacy.planner import ErasureIncomplete, Plan, by_index
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


# A tenant case whose accounts are done is closed when its files are gone.
_TAKE_TURN = text(
    "UPDATE erasures SET worked_at = clock_timestamp() WHERE case_id = ("
    " SELECT e.case_id FROM erasures e WHERE e.is_tenant AND e.answered_at IS NULL"
    " AND (EXISTS (SELECT FROM erasure_subjects s WHERE s.case_id = e.case_id)"
    " OR NOT EXISTS (SELECT FROM file_deletions f WHERE f.case_id = e.case_id))"
    " ORDER BY e.worked_at LIMIT 1) RETURNING case_id, tenant_id"
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

        The receipt waits for the last file deletion where there are files. A second call for a known case does
        nothing unless `again`, and never after the case is completed.
        """
        tenant_id = tenant_of(session)
        await lock_subject(session, tenant_id, account_id)
        await lay_tombstone(session, tenant_id, account_id)
        crash("erasure.after_tombstone")
        if not await self._open(session, case_id, account_id=account_id, content=content, again=again):
            return
        if await _is_held(session, account_id):
            await self._answer(session, case_id, Outcome.ON_HOLD)
            return
        retained = await self.plan.retained_of(session, [account_id])
        counts = await self._erase(session, [account_id], case_id, content, is_tenant=False)
        if counts is None:
            return
        counts += await _redact(session, [account_id])
        await self._note(session, case_id, counts, retained)
        crash("erasure.before_receipt")
        await self._answer_if_clean(session, case_id)

    async def start_tenant(self, session: AsyncSession, *, case_id: UUID, again: bool = False) -> None:
        """Refuse the whole tenant from now on and list its accounts; `erase_batch` does the work in pieces."""
        tenant_id = tenant_of(session)
        await lock_subject(session, tenant_id, tenant_id)
        await lay_tombstone(session, tenant_id, tenant_id)
        await session.execute(update(tenants).where(tenants.c.tenant_id == tenant_id).values(is_active=False))
        if not await self._open(session, case_id, account_id=None, content=ContentChoice.REMOVE, again=again):
            return
        waiting = await self.plan.list_accounts(session, case_id)
        case = update(erasures).where(erasures.c.case_id == case_id)
        await session.execute(case.values(total=erasures.c.done + waiting))

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

    async def erase_batch(self, database: Database) -> bool:
        """Erase up to BATCH_ACCOUNTS accounts of the tenant case that has waited longest; False when none waits.

        Each batch is one transaction; a crash loses none of the committed ones.
        """
        # In a transaction of its own, so that a case whose batch fails goes to the end of the queue, too.
        async with database.transaction() as session:
            case = (await session.execute(_TAKE_TURN)).one_or_none()
        if case is None:
            return False
        async with database.transaction(case.tenant_id) as session:
            mine = select(erasures.c.answered_at).where(erasures.c.case_id == case.case_id)
            if await session.scalar(mine.with_for_update()) is None:
                await self._work(session, case.case_id)
        crash("tenant.after_commit")
        return True

    async def forget_case(self, session: AsyncSession, event: CaseCompleted) -> None:
        """The case is complete everywhere: forget the account id that the log and the case still name."""
        case = (await session.execute(select(erasures).where(erasures.c.case_id == event.case_id))).one_or_none()
        if case is None:
            return
        if case.is_tenant:
            await redact_tenant(session, case.tenant_id, keep_types=(TenantDeactivated.type,))
        elif case.account_id is not None:
            await redact_subjects(session, [case.account_id], keep_types=())
        await session.execute(update(erasures).where(erasures.c.case_id == event.case_id).values(account_id=None))

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
                    await self._answer_if_clean(session, case_id)
        return len(rows)

    async def _work(self, session: AsyncSession, case_id: UUID) -> None:
        """Erase the next accounts of a tenant, or close its case when there are none."""
        batch = await _next_accounts(session, case_id)
        if not batch:
            await self._close_tenant(session, case_id)
            return
        counts = await self._erase(session, batch, case_id, ContentChoice.REMOVE, is_tenant=True)
        if counts is None:
            return
        counts += await _redact(session, batch)
        mine = erasure_subjects.c.case_id == case_id
        await session.execute(delete(erasure_subjects).where(mine, erasure_subjects.c.account_id.in_(batch)))
        # Surrogates of members who went earlier are renewed with the others, but nobody goes twice.
        await self._note(session, case_id, counts, [], done=sum(account.version != 4 for account in batch))
        crash("tenant.before_commit")

    async def _erase(
        self, session: AsyncSession, accounts: Sequence[UUID], case_id: UUID, content: ContentChoice, *, is_tenant: bool
    ) -> list[RuleCount] | None:
        """Run the plan; None when a post-condition does not hold: nothing is changed and the case answered FAILED."""
        try:
            async with session.begin_nested(), by_index(session):
                if self._personal_data.before_erasure is not None:
                    await self._personal_data.before_erasure(session, accounts, is_tenant)
                return await self.plan.run(session, accounts, case_id=case_id, content=content)
        except ErasureIncomplete as error:
            log.error("erasure.incomplete", case_id=str(case_id), rule=error.rule)
            await self._answer(session, case_id, Outcome.FAILED, [RuleCount(rule=error.rule, count=error.count)])
            return None

    async def _open(
        self, session: AsyncSession, case_id: UUID, *, account_id: UUID | None, content: ContentChoice, again: bool
    ) -> bool:
        """Note the case; whether there is something to do: it is new, or asked for `again` and not yet completed."""
        row = {
            "case_id": case_id,
            "tenant_id": tenant_of(session),
            "account_id": account_id,
            "is_tenant": account_id is None,
            "content": content,
        }
        statement = upsert(erasures).values(row)
        if again:
            # A completed case has forgotten its account: a request that comes late finds nobody to erase.
            is_open = erasures.c.is_tenant | erasures.c.account_id.is_not(None)
            reopened = {"outcome": None, "answered_at": None}
            statement = statement.on_conflict_do_update(index_elements=["case_id"], set_=reopened, where=is_open)
        else:
            statement = statement.on_conflict_do_nothing()
        return await session.scalar(statement.returning(erasures.c.case_id)) is not None

    async def _close_tenant(self, session: AsyncSession, case_id: UUID) -> None:
        if await _is_held(session, None):
            await self._answer(session, case_id, Outcome.ON_HOLD)
            return
        await redact_tenant(session, tenant_of(session), keep_types=KEPT_UNTIL_COMPLETION)
        await self.plan.erase_orphans(session, case_id)
        found = await self.plan.tenant_remaining(session)
        if found:
            await self._answer(session, case_id, Outcome.FAILED, found)
            return
        await self._note(session, case_id, [], await self.plan.retained_of_tenant(session))
        await self._answer_if_clean(session, case_id)

    async def _note(
        self,
        session: AsyncSession,
        case_id: UUID,
        counts: Sequence[RuleCount],
        retained: Sequence[RetainedRows],
        *,
        done: int = 0,
    ) -> None:
        """Add to what is known of a case. What is retained stays known when a later run finds no map to it."""
        known = await _case(session, case_id)
        merged = dict(known.counts)
        for entry in counts:
            merged[entry.rule] = merged.get(entry.rule, 0) + entry.count
        values: dict[str, Any] = {"counts": merged, "done": known.done + done}
        if retained:
            values["retained"] = [entry.model_dump(mode="json") for entry in retained]
        await session.execute(update(erasures).where(erasures.c.case_id == case_id).values(values))

    async def _answer_if_clean(self, session: AsyncSession, case_id: UUID) -> None:
        """Publish the receipt unless files of the case still wait for their deletion."""
        waiting = exists().where(file_deletions.c.case_id == case_id)
        if await session.scalar(select(waiting)):
            return
        case = await _case(session, case_id)
        counts = [RuleCount(rule=rule, count=count) for rule, count in case.counts.items()]
        retained = [RetainedRows.model_validate(entry) for entry in case.retained]
        outcome = Outcome.RETAINED if retained else Outcome.DONE if counts else Outcome.NOTHING_HELD
        await self._answer(session, case_id, outcome, counts, retained)

    async def _answer(
        self,
        session: AsyncSession,
        case_id: UUID,
        outcome: Outcome,
        counts: Sequence[RuleCount] = (),
        retained: Sequence[RetainedRows] = (),
    ) -> None:
        statement = update(erasures).where(erasures.c.case_id == case_id)
        answered = statement.values(outcome=outcome, answered_at=func.clock_timestamp()).returning(erasures)
        case = (await session.execute(answered)).one()
        common = {
            "tenant_id": case.tenant_id,
            "case_id": case_id,
            "manifest_digest": self.manifest.digest,
            "outcome": outcome,
            "counts": counts[:500],
            "retained": retained[:500],
        }
        if case.is_tenant:
            await publish(session, self._tenant_receipt(**common, accounts=case.done))
        else:
            await publish(session, self._account_receipt(**common, account_id=case.account_id))
        ERASURE_SECONDS.labels(self.service).observe((utc_now() - case.started_at).total_seconds())


async def _case(session: AsyncSession, case_id: UUID) -> Row[Any]:
    return (await session.execute(select(erasures).where(erasures.c.case_id == case_id))).one()


async def _redact(session: AsyncSession, accounts: Sequence[UUID]) -> list[RuleCount]:
    count = await redact_subjects(session, accounts, keep_types=KEPT_UNTIL_COMPLETION)
    return [RuleCount(rule="event_log", count=count)] if count else []


async def _is_held(session: AsyncSession, account_id: UUID | None) -> bool:
    """Whether a legal hold stops the account's erasure (None: anybody's in the tenant)."""
    held = exists().where(holds.c.tenant_id == tenant_of(session))
    if account_id is not None:
        held = held.where(holds.c.account_id == account_id)
    return bool(await session.scalar(select(held)))


async def _awaits_files(session: AsyncSession, case_id: UUID) -> bool:
    """Lock an account's case and say whether its receipt is due; a tenant's is closed by `erase_batch`."""
    mine = select(erasures.c.case_id).where(erasures.c.case_id == case_id, ~erasures.c.is_tenant)
    return await session.scalar(mine.where(erasures.c.answered_at.is_(None)).with_for_update()) is not None


async def _next_accounts(session: AsyncSession, case_id: UUID) -> list[UUID]:
    listed = select(erasure_subjects.c.account_id).where(erasure_subjects.c.case_id == case_id)
    batch = listed.order_by(erasure_subjects.c.account_id).limit(BATCH_ACCOUNTS)
    return list((await session.execute(batch)).scalars())
