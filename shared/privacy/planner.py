"""The erasure plan: set-based statements derived from the marks, for accounts and for a whole tenant.

Every rule carries its own proof: its statement returns how many rows it changed and how many of them are not clean
afterwards, and a query in the same transaction counts what the rules have left.
"""

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import fetch
from shared.events.erasure import RetainedRows, RuleCount
from shared.events.identity import ContentChoice
from shared.privacy.manifest import Manifest
from shared.privacy.rules import RetainRule, Rule, Walk, accounts_of, files_of, retained_of, rules_of
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
    rules: tuple[Rule, ...]
    retained: tuple[RetainRule, ...]
    accounts: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "Plan":
        # Rows that refer go before the rows they refer to, so that no cascade takes them uncounted.
        tables = [table for table in reversed(manifest.tables) if table.name not in OWN_STORES]
        return cls(
            files=tuple(statement for table in tables for statement in files_of(table)),
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
        async with erasing(session):
            # What a map leads to goes, and is counted, while the map still knows the person.
            mapped = await _run([rule for rule in self.rules if rule.is_mapped], self.files, session, bound)
            return mapped + await _run([rule for rule in self.rules if not rule.is_mapped], (), session, bound)

    async def remaining(self, session: AsyncSession, accounts: Sequence[UUID]) -> list[RuleCount]:
        """Run every rule's post-condition; return the rules that still find something."""
        return await _remaining(self.rules, session, _bind(accounts)) if accounts else []

    async def retained_of(self, session: AsyncSession, accounts: Sequence[UUID]) -> list[RetainedRows]:
        """Count what is kept of these accounts, while the maps still lead to them."""
        counts = (rule.of_accounts for rule in self.retained)
        return await _kept(session, self.retained, counts, _bind(accounts))

    async def retained_of_tenant(self, session: AsyncSession) -> list[RetainedRows]:
        return await _kept(session, self.retained, (rule.of_tenant for rule in self.retained), {})

    async def tenant_remaining(self, session: AsyncSession) -> list[RuleCount]:
        """Count, in the transaction's tenant, erasable personal values and references that are still there."""
        return await _found(session, ((rule.name, rule.walk.remaining) for rule in self.rules), {})

    @property
    def walks(self) -> list[tuple[str, Walk]]:
        """The rules' walks by name, in the order in which they run."""
        ordered = sorted(self.rules, key=lambda rule: not rule.is_mapped)
        return [(rule.name, rule.walk) for rule in ordered]

    async def locate(
        self, session: AsyncSession, walk: Walk, held: Sequence[UUID]
    ) -> tuple[int, int] | tuple[None, None]:
        """Return the first and the last block in which a walk finds something to change, or (None, None)."""
        ((first, last),) = await _run_statement(session, walk.locate, {"held": list(held)})
        return (None, None) if first is None else (first[0], last[0])

    async def change(
        self, session: AsyncSession, name: str, walk: Walk, held: Sequence[UUID], *, case_id: UUID, blocks: range
    ) -> int:
        """Take a walk through these blocks; return how many rows changed. Raises ErasureIncomplete."""
        bound = {"low": (blocks.start, 0), "high": (blocks.stop, 0), "held": list(held), "case": case_id}
        for statement in walk.files:
            await _run_statement(session, statement, bound)
        ((changed, unclean),) = await _run_statement(session, walk.erase, bound)
        if unclean:
            raise ErasureIncomplete(name, unclean)
        return int(changed)

    async def forget_order(self, session: AsyncSession, held: Sequence[UUID]) -> None:
        """Forget in which order news of the tenant's accounts came; that table knows no tenant."""
        named = f"SELECT id::text FROM ({' UNION '.join(self.accounts)}) AS named (id) WHERE id <> ALL(:held)"
        forget = f"DELETE FROM watermarks WHERE key IN ({named}) AND EXISTS (SELECT FROM watermarks)"
        await _run_statement(session, forget, {"held": list(held)})

    async def count_accounts(self, session: AsyncSession) -> int:
        """Count the accounts that the transaction's tenant still names, held ones too; surrogates are none."""
        # Distinct ids of a large tenant: in memory rather than in files.
        await session.execute(text("SET LOCAL work_mem = '32MB'"))
        counted = f"SELECT count(*) FROM ({' UNION '.join(self.accounts)}) AS named (id)"
        return int(await session.scalar(text(f"{counted} WHERE substr(id::text, 15, 1) <> '4'")) or 0)


@asynccontextmanager
async def _set(session: AsyncSession, **settings: tuple[str, str]) -> AsyncIterator[None]:
    """Give settings (value, value afterwards) for the body. When that raises, the rollback resets them."""
    for index in (0, 1):
        calls = ", ".join(f"set_config('{name}', '{values[index]}', true)" for name, values in settings.items())
        await fetch(session, f"SELECT {calls}")
        if index == 0:
            yield


def exempt(session: AsyncSession) -> AbstractAsyncContextManager[None]:
    """Let the body rewrite rows of erased people; the guards are back before anything else of the transaction runs."""
    return _set(session, **{"cowork.erasing": ("on", "")})


def erasing(session: AsyncSession) -> AbstractAsyncContextManager[None]:
    """Like `exempt`, and people are found by index, however many.

    Personal columns have no statistics, so PostgreSQL takes some accounts for a large part of a table and reads it
    all; the indexes that `protection` derives are right, whatever it estimates. And whoever it is, the plan is the same:
    made again for each of them, it took longer than the work.
    """
    always = {"enable_seqscan": ("off", "on"), "plan_cache_mode": ("force_generic_plan", "auto")}
    return _set(session, **{"cowork.erasing": ("on", ""), **always})


async def _run(
    rules: Sequence[Rule], files: Sequence[str], session: AsyncSession, bound: dict[str, Any]
) -> list[RuleCount]:
    counts = []
    for together in _rounds(rules) or [()]:
        script = _script(together, tuple(files))
        files = ()
        if script is None:
            continue
        for number, changed, unclean in await _run_statement(session, script, bound):
            rule = together[number]
            if unclean:
                raise ErasureIncomplete(rule.name, unclean)
            if changed:
                counts.append(RuleCount(rule=rule.name, count=changed))
    if left := await _remaining(rules, session, bound):
        raise ErasureIncomplete(left[0].rule, left[0].count)
    return counts


def _rounds(rules: Sequence[Rule]) -> list[tuple[Rule, ...]]:
    """Put rules together that can run in one statement, each table once in each: none sees what another has changed."""
    by_table = [tuple(of_table) for _, of_table in groupby(rules, key=lambda rule: rule.table)]
    most = max(map(len, by_table), default=0)
    return [tuple(rules[n] for rules in by_table if n < len(rules)) for n in range(most)]


@lru_cache(maxsize=256)
def _script(rules: tuple[Rule, ...], files: tuple[str, ...]) -> str | None:
    """One statement for several rules: a row (number, changed, unclean) each. The files are those of before it."""
    parts = [f"file{n} AS ({statement})" for n, statement in enumerate(files)]
    parts += [f"rule{n} AS ({rule.erase})" for n, rule in enumerate(rules)]
    counts = [f"SELECT {n}, count(*), count(*) FILTER (WHERE NOT clean) FROM rule{n}" for n, _ in enumerate(rules)] or [
        "SELECT 0, 0, 0 WHERE false"
    ]
    return f"WITH {', '.join(parts)} {' UNION ALL '.join(counts)}" if parts else None


async def _remaining(rules: Sequence[Rule], session: AsyncSession, bound: dict[str, Any]) -> list[RuleCount]:
    return await _found(session, ((rule.name, rule.remaining) for rule in rules), bound)


async def _found(session: AsyncSession, counts: Iterable[tuple[str, str]], bound: dict[str, Any]) -> list[RuleCount]:
    """Run named counts in one round trip; return those above zero."""
    parts = [f"SELECT '{name}' AS rule, ({count}) AS found" for name, count in counts]
    if not parts:
        return []
    counted = f"SELECT rule, found FROM ({' UNION ALL '.join(parts)}) AS counted WHERE found > 0"
    rows = await _run_statement(session, counted, bound)
    return [RuleCount(rule=row["rule"], count=row["found"]) for row in rows]


async def _kept(
    session: AsyncSession, rules: Sequence[RetainRule], counts: Iterable[str], bound: dict[str, Any]
) -> list[RetainedRows]:
    """Run the rules' counts in one round trip."""
    parts = [f"SELECT {n}, found.* FROM ({count}) AS found (until, held)" for n, count in enumerate(counts)]
    if not parts:
        return []
    rows = await _run_statement(session, " UNION ALL ".join(parts), bound)
    return [
        RetainedRows(rule=rules[n].name, ground=rules[n].ground, until=_day(until), count=count)
        for n, until, count in rows
    ]


def _day(until: date | None) -> date | None:
    return until.date() if isinstance(until, datetime) else until


def _bind(accounts: Sequence[UUID], **more: Any) -> dict[str, Any]:
    return {"accounts": list(accounts), **more}


_TYPES = {"accounts": "uuid[]", "held": "uuid[]", "salt": "bytea", "case": "uuid", "remove": "boolean"}
_NAME = re.compile(r"(?<!:):(accounts|held|salt|case|remove|low|high)\b")


async def _run_statement(session: AsyncSession, statement: str, bound: dict[str, Any]) -> list[Any]:
    """Run a rule's statement, its `:names` given by `bound`; return its rows."""
    numbered, names = _numbered(statement)
    return await fetch(session, numbered, *(bound[name] for name in names))


@lru_cache(maxsize=1024)
def _numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement as the driver takes it, typed `$1` for `:accounts`, and the names in the order of their numbers."""
    names = tuple(dict.fromkeys(_NAME.findall(statement)))

    def placeholder(found: re.Match[str]) -> str:
        name = found.group(1)
        number = f"${names.index(name) + 1}"
        return f"CAST({number} AS {_TYPES[name]})" if name in _TYPES else number

    return _NAME.sub(placeholder, statement), names
