"""The erasure plan: set-based statements derived from the marks, the same for one account and for a tenant's batch.

Every rule carries its own proof: its statement returns how many rows it changed and how many of them are not clean
afterwards, and a query in the same transaction counts what the rules have left.
"""

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from shared.events.erasure import RetainedRows, RuleCount
from shared.events.identity import ContentChoice
from shared.privacy.manifest import Manifest
from shared.privacy.rules import RetainRule, Rule, accounts_of, files_of, orphan_files_of, retained_of, rules_of
from shared.privacy.tables import OWN_STORES


class ErasureIncomplete(Exception):
    """A rule's post-condition does not hold; the erasure is rolled back. `rule` names it, `count` what it leaves."""

    def __init__(self, rule: str, count: int) -> None:
        super().__init__(rule)
        self.rule = rule
        self.count = count


@dataclass(frozen=True, slots=True)
class Plan:
    """A service's rules in the order in which they run, its files, what it retains and where accounts are named."""

    files: tuple[str, ...]
    orphan_files: tuple[str, ...]
    rules: tuple[Rule, ...]
    retained: tuple[RetainRule, ...]
    accounts: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "Plan":
        # Rows that refer go before the rows they refer to, so that no cascade takes them uncounted.
        tables = [table for table in reversed(manifest.tables) if table.name not in OWN_STORES]
        return cls(
            files=tuple(statement for table in tables for statement in files_of(table)),
            orphan_files=tuple(statement for table in tables for statement in orphan_files_of(table)),
            rules=tuple(rule for table in tables for rule in rules_of(table)),
            retained=tuple(rule for table in tables for rule in retained_of(table)),
            accounts=tuple(statement for table in tables for statement in accounts_of(table)),
        )

    async def run(
        self, session: AsyncSession, accounts: Sequence[UUID], *, case_id: UUID, content: ContentChoice
    ) -> list[RuleCount]:
        """Erase these accounts in this transaction; return counts per rule.

        Raises ErasureIncomplete when a rule has left something, or something unclean, behind.
        """
        # Fresh and never stored: afterwards nobody, we included, can tell whose surrogate is whose.
        bound = _bind(accounts, salt=secrets.token_bytes(32), remove=content is ContentChoice.REMOVE, case=case_id)
        async with exempt(session):
            for statement in self.files:
                await session.execute(*_prepared(statement, bound))
            # What a map leads to goes, and is counted, while the map still knows the person.
            mapped = await _run([rule for rule in self.rules if rule.is_mapped], session, bound)
            return mapped + await _run([rule for rule in self.rules if not rule.is_mapped], session, bound)

    async def remaining(self, session: AsyncSession, accounts: Sequence[UUID]) -> list[RuleCount]:
        """Run every rule's post-condition; return the rules that still find something."""
        return await _remaining(self.rules, session, _bind(accounts))

    async def retained_of(self, session: AsyncSession, accounts: Sequence[UUID]) -> list[RetainedRows]:
        """Count what is kept of these accounts, while the maps still lead to them."""
        bound = _bind(accounts)
        return [row for rule in self.retained for row in await _kept(session, rule, rule.of_accounts, bound)]

    async def retained_of_tenant(self, session: AsyncSession) -> list[RetainedRows]:
        return [row for rule in self.retained for row in await _kept(session, rule, rule.of_tenant, {})]

    async def erase_orphans(self, session: AsyncSession, case_id: UUID) -> None:
        """Erase, in a tenant that goes, the rows of persons who have no account (a buyer entered by hand)."""
        bound = _bind([], salt=secrets.token_bytes(32), remove=True, case=case_id)
        async with exempt(session):
            for statement in self.orphan_files:
                await session.execute(*_prepared(statement, bound))
            for rule in self.rules:
                if rule.orphans is not None:
                    await session.execute(*_prepared(rule.orphans, bound))

    async def tenant_remaining(self, session: AsyncSession) -> list[RuleCount]:
        """Count, in the transaction's tenant, erasable personal values and references that are still there."""
        return await _found(session, ((rule.name, rule.tenant_remaining) for rule in self.rules), {})

    async def list_accounts(self, session: AsyncSession, case_id: UUID) -> int:
        """Note every account id that the transaction's tenant holds as work of a case; return how many accounts wait.

        Accounts under a legal hold stay out. Surrogates are listed, as nothing marks them but their version, and
        not counted.
        """
        insert = (
            "INSERT INTO erasure_subjects (case_id, account_id) SELECT :case, named.account_id"
            f" FROM ({' UNION '.join(self.accounts)}) AS named (account_id)"
            " WHERE NOT EXISTS (SELECT FROM holds h WHERE h.account_id = named.account_id"
            " AND h.tenant_id = current_setting('cowork.tenant')::uuid) ON CONFLICT DO NOTHING"
        )
        waiting = (
            "SELECT count(*) FROM erasure_subjects WHERE case_id = :case AND substr(account_id::text, 15, 1) <> '4'"
        )
        await session.execute(*_prepared(insert, {"case": case_id}))
        return int(await session.scalar(*_prepared(waiting, {"case": case_id})) or 0)


@asynccontextmanager
async def _set(session: AsyncSession, setting: str, value: str, afterwards: str) -> AsyncIterator[None]:
    """Change a setting for the body. When that raises, the rollback of transaction or savepoint resets it."""
    change = text("SELECT set_config(:setting, :value, true)")
    await session.execute(change, {"setting": setting, "value": value})
    yield
    await session.execute(change, {"setting": setting, "value": afterwards})


def exempt(session: AsyncSession) -> AbstractAsyncContextManager[None]:
    """Let the body rewrite rows of erased people; the guards are back before anything else of the transaction runs."""
    return _set(session, "cowork.erasing", "on", "")


def by_index(session: AsyncSession) -> AbstractAsyncContextManager[None]:
    """Let the body find people by index, however many.

    Personal columns have no statistics, so PostgreSQL takes a thousand accounts for most of a table and reads it
    all; the indexes that `protection` derives are right, whatever it estimates.
    """
    return _set(session, "enable_seqscan", "off", "on")


async def _run(rules: Sequence[Rule], session: AsyncSession, bound: dict[str, Any]) -> list[RuleCount]:
    counts = []
    for rule in rules:
        changed, unclean = (await session.execute(*_prepared(rule.erase, bound))).one()
        if unclean:
            raise ErasureIncomplete(rule.name, unclean)
        if changed:
            counts.append(RuleCount(rule=rule.name, count=changed))
    if left := await _remaining(rules, session, bound):
        raise ErasureIncomplete(left[0].rule, left[0].count)
    return counts


async def _remaining(rules: Sequence[Rule], session: AsyncSession, bound: dict[str, Any]) -> list[RuleCount]:
    return await _found(session, ((rule.name, rule.remaining) for rule in rules), bound)


async def _found(session: AsyncSession, counts: Iterable[tuple[str, str]], bound: dict[str, Any]) -> list[RuleCount]:
    """Run named counts in one round trip; return those above zero."""
    parts = [f"SELECT '{name}' AS rule, ({count}) AS found" for name, count in counts]
    if not parts:
        return []
    rows = await session.execute(
        *_prepared(f"SELECT rule, found FROM ({' UNION ALL '.join(parts)}) AS counted WHERE found > 0", bound)
    )
    return [RuleCount(rule=row.rule, count=row.found) for row in rows]


async def _kept(session: AsyncSession, rule: RetainRule, count: str, bound: dict[str, Any]) -> list[RetainedRows]:
    rows = await session.execute(*_prepared(count, bound))
    return [RetainedRows(rule=rule.name, ground=rule.ground, until=_day(until), count=n) for until, n in rows]


def _day(until: date | None) -> date | None:
    return until.date() if isinstance(until, datetime) else until


def _bind(accounts: Sequence[UUID], **more: Any) -> dict[str, Any]:
    return {"accounts": list(accounts), **more}


_TYPES: dict[str, Any] = {"accounts": ARRAY(Uuid), "salt": LargeBinary, "case": Uuid}


def _prepared(statement: str, bound: dict[str, Any]) -> tuple[TextClause, dict[str, Any]]:
    """Return the statement, typed, and the parameters that it uses."""
    used = {name: value for name, value in bound.items() if f":{name}" in statement}
    typed = [bindparam(name, type_=_TYPES[name]) for name in used if name in _TYPES]
    return text(statement).bindparams(*typed), used
