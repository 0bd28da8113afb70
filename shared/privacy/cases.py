"""What a service knows and answers of an erasure case: one row per case, one receipt per answer."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus import publish
from shared.db import fetch, tenant_of, utc_now, wake_after_commit
from shared.events.erasure import RECEIPTS, Outcome, RetainedRows, RuleCount
from shared.events.identity import AccountDeactivated, ContentChoice, TenantDeactivated
from shared.events.privacy import ErasureRedriven
from shared.privacy.manifest import Manifest
from shared.telemetry import ERASURE_SECONDS

# What names the account until its case completes: the deactivation itself and the receipts.
KEPT_UNTIL_COMPLETION = frozenset(
    {AccountDeactivated.type, TenantDeactivated.type, ErasureRedriven.type}
    | {contract.type for account, tenant, _ in RECEIPTS.values() for contract in (account, tenant)}
)
# A case whose tenant's accounts are not counted yet; from 0 on it is the number of the walk that comes next.
TO_PREPARE = -1
_OPEN = (
    "INSERT INTO erasures (case_id, tenant_id, account_id, is_tenant, content, step) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (case_id) "
)
_FIRST = f"{_OPEN} DO NOTHING RETURNING case_id"
# A completed case has forgotten its account: a request that comes late finds nobody to erase.
_AGAIN = (
    f"{_OPEN} DO UPDATE SET outcome = NULL, answered_at = NULL,"
    # One that is still at work goes on where it is: asked often enough, it would never come to an end.
    " step = CASE WHEN erasures.answered_at IS NULL THEN erasures.step ELSE excluded.step END,"
    " next_block = CASE WHEN erasures.answered_at IS NULL THEN erasures.next_block END"
    " WHERE erasures.is_tenant OR erasures.account_id IS NOT NULL RETURNING case_id"
)
_ADDED = (
    "(SELECT jsonb_object_agg(rule, rows) FROM (SELECT rule, sum(rows::bigint) AS rows FROM (SELECT * FROM"
    " jsonb_each_text(erasures.counts) UNION ALL SELECT * FROM jsonb_each_text($2::jsonb))"
    " AS counted (rule, rows) GROUP BY rule) AS added)"
)
_NOTE = (
    f"UPDATE erasures SET counts = CASE WHEN $2::jsonb = '{{}}' THEN counts ELSE {_ADDED} END,"
    " retained = CASE WHEN $3::jsonb = '[]' THEN retained ELSE $3::jsonb END"
)
_NOTED = (
    " WHERE case_id = $1 RETURNING case_id, counts, retained,"
    " EXISTS (SELECT FROM file_deletions f WHERE f.case_id = $1) AS has_files"
)
_ANSWER = (
    "UPDATE erasures SET outcome = $2, answered_at = clock_timestamp() WHERE case_id = $1"
    " RETURNING tenant_id, account_id, is_tenant, done, started_at"
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
        step = TO_PREPARE if account_id is None else None
        values = (case_id, tenant_of(session), account_id, account_id is None, content, step)
        return bool(await fetch(session, _AGAIN if again else _FIRST, *values))

    async def note(
        self,
        session: AsyncSession,
        case_id: UUID,
        counts: Sequence[RuleCount],
        retained: Sequence[RetainedRows] = (),
        **values: Any,
    ) -> Mapping[str, Any]:
        """Add to what is known of a case and return it, with `has_files`: whether files still wait for their deletion.

        What is retained stays known when a later run finds no map to it.
        """
        found = orjson.dumps({entry.rule: entry.count for entry in counts}).decode()
        kept = orjson.dumps([entry.model_dump(mode="json") for entry in retained]).decode()
        more = "".join(f", {name} = ${number}" for number, name in enumerate(values, 4))
        (case,) = await fetch(session, _NOTE + more + _NOTED, case_id, found, kept, *values.values())
        noted: Mapping[str, Any] = case
        return noted

    async def answer_if_clean(self, session: AsyncSession, case: Mapping[str, Any]) -> None:
        """Publish the receipt unless files of the case still wait for their deletion."""
        if case["has_files"]:
            wake_after_commit(session, "delete_erased_files")
            return
        counts = [RuleCount(rule=rule, count=count) for rule, count in case["counts"].items()]
        retained = [RetainedRows.model_validate(entry) for entry in case["retained"]]
        outcome = Outcome.RETAINED if retained else Outcome.DONE if counts else Outcome.NOTHING_HELD
        await self.answer(session, case["case_id"], outcome, counts, retained)

    async def answer(
        self,
        session: AsyncSession,
        case_id: UUID,
        outcome: Outcome,
        counts: Sequence[RuleCount] = (),
        retained: Sequence[RetainedRows] = (),
    ) -> None:
        """Close the case with an outcome and publish the receipt."""
        (case,) = await fetch(session, _ANSWER, case_id, outcome)
        common = {
            "tenant_id": case["tenant_id"],
            "case_id": case_id,
            "manifest_digest": self._manifest.digest,
            "outcome": outcome,
            "counts": counts[:500],
            "retained": retained[:500],
        }
        if case["is_tenant"]:
            await publish(session, self._tenant_receipt(**common, accounts=case["done"]))
        else:
            await publish(session, self._account_receipt(**common, account_id=case["account_id"]))
        ERASURE_SECONDS.labels(self._service).observe((utc_now() - case["started_at"]).total_seconds())


async def held_accounts(session: AsyncSession) -> list[UUID]:
    """Return the accounts of the transaction's tenant that a legal hold keeps."""
    held = await fetch(session, "SELECT account_id FROM holds WHERE tenant_id = $1", tenant_of(session))
    return [row["account_id"] for row in held]
