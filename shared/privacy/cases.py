"""What a service knows and answers of an erasure case: one row per case, one receipt per answer."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, exists, func, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import publish
from shared.db import fetch, tenant_of, utc_now, wake_after_commit
from shared.events.erasure import RECEIPTS, Outcome, RetainedRows, RuleCount
from shared.events.identity import AccountDeactivated, ContentChoice, TenantDeactivated
from shared.events.privacy import ErasureRedriven
from shared.privacy.manifest import Manifest
from shared.privacy.tables import erasures, file_deletions
from shared.telemetry import ERASURE_SECONDS

# What names the account until its case completes: the deactivation itself and the receipts.
KEPT_UNTIL_COMPLETION = frozenset(
    {AccountDeactivated.type, TenantDeactivated.type, ErasureRedriven.type}
    | {contract.type for account, tenant, _ in RECEIPTS.values() for contract in (account, tenant)}
)
# A case whose tenant's accounts are not counted yet; from 0 on it is the number of the walk that comes next.
TO_PREPARE = -1
_ADDED = (
    "(SELECT jsonb_object_agg(rule, rows) FROM (SELECT rule, sum(rows::bigint) AS rows FROM (SELECT * FROM"
    " jsonb_each_text(erasures.counts) UNION ALL SELECT * FROM jsonb_each_text(CAST(:found AS jsonb)))"
    " AS counted (rule, rows) GROUP BY rule) AS added)"
)


class Cases:
    """One service's cases."""

    def __init__(self, service: str, manifest: Manifest) -> None:
        self._service = service
        self._manifest = manifest
        self._account_receipt, self._tenant_receipt, _ = RECEIPTS[service]

    async def open(
        self, session: AsyncSession, case_id: UUID, *, account_id: UUID | None, content: ContentChoice, again: bool
    ) -> bool:
        """Note the case; whether there is something to do: it is new, or asked for `again` and not yet completed."""
        row = {
            "case_id": case_id,
            "tenant_id": tenant_of(session),
            "account_id": account_id,
            "is_tenant": account_id is None,
            "content": content,
            "step": TO_PREPARE if account_id is None else None,
        }
        statement = upsert(erasures).values(row)
        if again:
            # A completed case has forgotten its account: a request that comes late finds nobody to erase.
            is_open = erasures.c.is_tenant | erasures.c.account_id.is_not(None)
            reopened = {"outcome": None, "answered_at": None, "step": row["step"], "next_block": None}
            statement = statement.on_conflict_do_update(index_elements=["case_id"], set_=reopened, where=is_open)
        else:
            statement = statement.on_conflict_do_nothing()
        return await session.scalar(statement.returning(erasures.c.case_id)) is not None

    async def note(
        self,
        session: AsyncSession,
        case_id: UUID,
        counts: Sequence[RuleCount],
        retained: Sequence[RetainedRows] = (),
        **values: Any,
    ) -> Row[Any]:
        """Add to what is known of a case and return it, with `has_files`: whether files still wait for their deletion.

        What is retained stays known when a later run finds no map to it.
        """
        if retained:
            values["retained"] = [entry.model_dump(mode="json") for entry in retained]
        if counts:
            found = orjson.dumps({entry.rule: entry.count for entry in counts}).decode()
            values["counts"] = text(_ADDED).bindparams(found=found)
        mine = update(erasures).where(erasures.c.case_id == case_id)
        has_files = exists().where(file_deletions.c.case_id == case_id).label("has_files")
        noted = mine.values(values or {"done": erasures.c.done}).returning(erasures, has_files)
        case: Row[Any] = (await session.execute(noted)).one()
        return case

    async def answer_if_clean(self, session: AsyncSession, case: Row[Any]) -> None:
        """Publish the receipt unless files of the case still wait for their deletion."""
        if case.has_files:
            wake_after_commit(session, "delete_erased_files")
            return
        counts = [RuleCount(rule=rule, count=count) for rule, count in case.counts.items()]
        retained = [RetainedRows.model_validate(entry) for entry in case.retained]
        outcome = Outcome.RETAINED if retained else Outcome.DONE if counts else Outcome.NOTHING_HELD
        await self.answer(session, case.case_id, outcome, counts, retained)

    async def answer(
        self,
        session: AsyncSession,
        case_id: UUID,
        outcome: Outcome,
        counts: Sequence[RuleCount] = (),
        retained: Sequence[RetainedRows] = (),
    ) -> None:
        """Close the case with an outcome and publish the receipt."""
        statement = update(erasures).where(erasures.c.case_id == case_id)
        answered = statement.values(outcome=outcome, answered_at=func.clock_timestamp()).returning(erasures)
        case = (await session.execute(answered)).one()
        common = {
            "tenant_id": case.tenant_id,
            "case_id": case_id,
            "manifest_digest": self._manifest.digest,
            "outcome": outcome,
            "counts": counts[:500],
            "retained": retained[:500],
        }
        if case.is_tenant:
            await publish(session, self._tenant_receipt(**common, accounts=case.done))
        else:
            await publish(session, self._account_receipt(**common, account_id=case.account_id))
        ERASURE_SECONDS.labels(self._service).observe((utc_now() - case.started_at).total_seconds())


async def held_accounts(session: AsyncSession) -> list[UUID]:
    """Return the accounts of the transaction's tenant that a legal hold keeps."""
    held = await fetch(session, "SELECT account_id FROM holds WHERE tenant_id = $1", tenant_of(session))
    return [row["account_id"] for row in held]
