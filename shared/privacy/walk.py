"""Erasing a whole tenant: every table is walked in the order in which its rows lie, a piece per transaction.

By account it would visit most of each table again for every thousand accounts; in this order each page is read and
written once, and a hundred thousand accounts cost little more than one statement per table.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.crash import crash
from shared.bus.redaction import redact_tenant, tenant_redaction
from shared.db import Database, savepoint, tenant_of, wake_after_commit
from shared.events.erasure import Outcome, RuleCount
from shared.events.identity import ContentChoice
from shared.privacy.cases import KEPT_UNTIL_COMPLETION, TO_PREPARE, Cases, held_accounts
from shared.privacy.hooks import PersonalData
from shared.privacy.planner import ErasureIncomplete, Plan, erasing
from shared.privacy.rules import STEP, Walk
from shared.privacy.tables import erasures, tenants
from shared.privacy.tombstones import lay_tombstone, lock_subject

log = structlog.get_logger()
# A piece is so many blocks of 8 KiB, as many as take about this long; a turn is a few pieces of one case.
PIECE_SECONDS = 0.2
TURN_SECONDS = 1.0
# Not every statement is cut into pieces; nobody else's case waits for long because one was slow.
LONGEST_REST_SECONDS = 10.0
FIRST_BLOCKS, MOST_BLOCKS = 32, 4096
# A case whose walks are over is closed when its files are gone.
_TAKE_TURN = text(
    "UPDATE erasures SET worked_at = clock_timestamp() WHERE case_id = ("
    " SELECT e.case_id FROM erasures e WHERE e.is_tenant AND e.answered_at IS NULL"
    " AND (e.step IS NOT NULL OR NOT EXISTS (SELECT FROM file_deletions f WHERE f.case_id = e.case_id))"
    " ORDER BY e.worked_at LIMIT 1) RETURNING case_id, tenant_id"
)


class TenantErasure:
    """One service's work on tenant cases; `start` in the message's transaction, `work` again and again."""

    def __init__(self, cases: Cases, plan: Plan, personal_data: PersonalData) -> None:
        self._cases = cases
        self._plan = plan
        self._before = personal_data.before_tenant_erasure
        locate, change = tenant_redaction(STEP, keep_types=KEPT_UNTIL_COMPLETION)
        self._walks = [*plan.walks, ("event_log", Walk(locate, change, remaining=""))]
        self._blocks = FIRST_BLOCKS

    async def start(self, session: AsyncSession, *, case_id: UUID, again: bool) -> None:
        """Refuse the whole tenant from now on and note the case."""
        tenant_id = tenant_of(session)
        await lock_subject(session, tenant_id, tenant_id)
        await lay_tombstone(session, tenant_id, tenant_id)
        await session.execute(update(tenants).where(tenants.c.tenant_id == tenant_id).values(is_active=False))
        await self._cases.open(session, case_id, account_id=None, content=ContentChoice.REMOVE, again=again)
        wake_after_commit(session, "erase_tenants")

    async def work(self, database: Database, *, rest: float = 0) -> bool:
        """Do a turn of the tenant case that has waited longest, a transaction per piece; False when none waits.

        A crash loses none of the committed pieces.
        """
        # In a transaction of its own, so that a case whose piece fails goes to the end of the queue, too.
        async with database.transaction() as session:
            turn = (await session.execute(_TAKE_TURN)).one_or_none()
        if turn is None:
            return False
        clock = asyncio.get_running_loop().time
        until = clock() + TURN_SECONDS
        while True:
            began = clock()
            is_left = await self._piece(database, turn.case_id, turn.tenant_id)
            await asyncio.sleep(min(rest * (clock() - began), LONGEST_REST_SECONDS))
            if not is_left or clock() > until:
                return True

    async def _piece(self, database: Database, case_id: UUID, tenant_id: UUID) -> bool:
        """Commit one piece of a case; whether more of it waits."""
        async with database.transaction(tenant_id) as session:
            mine = select(erasures).where(erasures.c.case_id == case_id, erasures.c.answered_at.is_(None))
            case = (await session.execute(mine.with_for_update())).one_or_none()
            if case is None:
                return False
            held = await held_accounts(session)
            if case.step is None:
                await self._close(session, case, held)
            elif case.step == TO_PREPARE:
                await self._prepare(session, case, held)
            else:
                await self._walk(session, case, held)
            crash("tenant.before_commit")
        crash("tenant.after_commit")
        return case.step is not None

    async def _prepare(self, session: AsyncSession, case: Row[Any], held: Sequence[UUID]) -> None:
        """Count who is there and do what the service does before a tenant goes."""
        waiting = await self._plan.count_accounts(session)
        await self._plan.forget_order(session, held)
        if self._before is not None:
            await self._before(session, held)
        await self._cases.note(session, case.case_id, [], step=0, total=max(case.total, case.done + waiting))

    async def _walk(self, session: AsyncSession, case: Row[Any], held: Sequence[UUID]) -> None:
        """Take the next piece of the first walk that finds anything to change, and note where to go on."""
        # A server that loses its last pieces in a crash has lost their place, too: they are done again. The receipt's
        # commit waits for the disk, and with it for everything before.
        await session.execute(text("SET LOCAL synchronous_commit = off"))
        step, block, last = case.step, case.next_block, case.last_block
        counts: list[RuleCount] = []
        while block is None and step < len(self._walks):
            block, last = await self._plan.locate(session, self._walks[step][1], held)
            step += block is None
        if block is not None:
            name, walk = self._walks[step]
            until = block + self._blocks
            changed = await self._change(session, case.case_id, name, walk, held, blocks=range(block, until))
            if changed is None:
                return
            counts += [RuleCount(rule=name, count=changed)] if changed else []
            step, block = (step, until) if until <= last else (step + 1, None)
        place = {"step": step if step < len(self._walks) else None, "next_block": block, "last_block": last}
        await self._cases.note(session, case.case_id, counts, **place)

    async def _change(
        self, session: AsyncSession, case_id: UUID, name: str, walk: Walk, held: Sequence[UUID], *, blocks: range
    ) -> int | None:
        """Change one piece; None when a row is not clean afterwards: it stays as it was and the case is FAILED."""
        # The loop of uvloop counts milliseconds: a piece may take less.
        began = time.monotonic()
        try:
            async with savepoint(session), erasing(session):
                changed = await self._plan.change(session, name, walk, held, case_id=case_id, blocks=blocks)
        except ErasureIncomplete as error:
            log.error("erasure.incomplete", case_id=str(case_id), rule=error.rule)
            await self._cases.answer(session, case_id, Outcome.FAILED, [RuleCount(rule=error.rule, count=error.count)])
            return None
        # No more than doubled at a time: the next table's rows may be dearer.
        share = min(max(PIECE_SECONDS / (time.monotonic() - began), 0.25), 2)
        self._blocks = min(max(int(len(blocks) * share), 1), MOST_BLOCKS)
        return changed

    async def _close(self, session: AsyncSession, case: Row[Any], held: Sequence[UUID]) -> None:
        if held:
            left = await self._plan.count_accounts(session)
            await self._cases.note(session, case.case_id, [], done=max(case.total - left, 0))
            await self._cases.answer(session, case.case_id, Outcome.ON_HOLD)
            return
        await redact_tenant(session, tenant_of(session), keep_types=KEPT_UNTIL_COMPLETION)
        if found := await self._plan.tenant_remaining(session):
            await self._cases.answer(session, case.case_id, Outcome.FAILED, found)
            return
        retained = await self._plan.retained_of_tenant(session)
        noted = await self._cases.note(session, case.case_id, [], retained, done=case.total)
        await self._cases.answer_if_clean(session, noted)
