"""The erasure plan: set-based statements derived from the marks, the same for one account and for a tenant's batch.

Every rule carries its own proof: the statement returns how many rows it changed and how many of them are not clean
afterwards, and `remaining` counts what is left for a later verification.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, LargeBinary, Table, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from shared.events.erasure import RetainedRows, RuleCount
from shared.events.identity import ContentChoice
from shared.privacy.manifest import Manifest, column_mark, table_mark
from shared.privacy.marks import Erase, Link, Personal, PersonRef, Row, Subject
from shared.privacy.tables import OWN_STORES

# E-mail addresses and phone numbers in words that the author chose to leave behind.
CONTACTS = r"[\w.%+-]+@[\w.-]+|\+?[0-9][0-9 ().-]{7,}[0-9]"
MASK = "•••"


class ErasureIncomplete(Exception):
    """A rule's post-condition does not hold; the erasure is rolled back. `rule` names it."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Rule:
    """`erase` returns (changed, unclean); `remaining` and `tenant_remaining` count what still names a person.

    `orphans` erases what no account leads to, when the whole tenant goes.
    """

    name: str
    erase: str
    remaining: str
    tenant_remaining: str
    orphans: str | None = None


@dataclass(frozen=True, slots=True)
class RetainRule:
    """Rows kept on a ground; `count` returns (until, number) per end date."""

    name: str
    ground: str
    count: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A service's rules in the order in which they run, its files and what it retains."""

    files: tuple[str, ...]
    rules: tuple[Rule, ...]
    retained: tuple[RetainRule, ...]
    subjects: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "Plan":
        # Rows that refer go before the rows they refer to, so that no cascade takes them uncounted.
        tables = [table for table in reversed(manifest.tables) if table.name not in OWN_STORES]
        # Rows that lead to their person over a map go while the map still knows the person.
        tables.sort(key=lambda table: _depth(table))
        return cls(
            files=tuple(statement for table in tables for statement in _files(table)),
            rules=tuple(rule for table in tables for rule in _rules(table)),
            retained=tuple(rule for table in tables for rule in _retained(table)),
            subjects=tuple(statement for table in tables for statement in _subjects(table)),
        )

    async def run(
        self, session: AsyncSession, accounts: Sequence[UUID], *, case_id: UUID, content: ContentChoice
    ) -> tuple[list[RuleCount], list[RetainedRows]]:
        """Erase these accounts in this transaction; return counts per rule and what is retained.

        Raises ErasureIncomplete when a row that a rule has touched is not clean.
        """
        await session.execute(text("SELECT set_config('cowork.erasing', 'on', true)"))
        # Fresh and never stored: afterwards nobody, we included, can tell whose surrogate is whose.
        bound = _bind(accounts, salt=secrets.token_bytes(32), remove=content is ContentChoice.REMOVE, case=case_id)
        retained = [row for rule in self.retained for row in await _count_retained(session, rule, bound)]
        for statement in self.files:
            await session.execute(_prepared(statement), _used(statement, bound))
        counts = []
        for rule in self.rules:
            changed, unclean = (await session.execute(_prepared(rule.erase), _used(rule.erase, bound))).one()
            if unclean:
                raise ErasureIncomplete(rule.name)
            if changed:
                counts.append(RuleCount(rule=rule.name, count=changed))
        return counts, retained

    async def remaining(self, session: AsyncSession, accounts: Sequence[UUID]) -> list[RuleCount]:
        """Run every rule's post-condition again; return the rules that still find something."""
        bound = _bind(accounts)
        found = []
        for rule in self.rules:
            count = await session.scalar(_prepared(rule.remaining), _used(rule.remaining, bound))
            if count:
                found.append(RuleCount(rule=rule.name, count=count))
        return found

    async def erase_orphans(self, session: AsyncSession) -> None:
        """Erase, in a tenant that goes, the rows of persons who have no account (a buyer entered by hand)."""
        await session.execute(text("SELECT set_config('cowork.erasing', 'on', true)"))
        bound = _bind([], salt=secrets.token_bytes(32), remove=True)
        for rule in self.rules:
            if rule.orphans is not None:
                await session.execute(_prepared(rule.orphans), _used(rule.orphans, bound))

    async def tenant_remaining(self, session: AsyncSession) -> list[RuleCount]:
        """Count, in the transaction's tenant, erasable personal values and references that are still there."""
        found = []
        for rule in self.rules:
            count = await session.scalar(text(rule.tenant_remaining))
            if count:
                found.append(RuleCount(rule=rule.name, count=count))
        return found

    async def tenant_accounts(self, session: AsyncSession) -> set[UUID]:
        """Return every account id that the transaction's tenant holds."""
        found: set[UUID] = set()
        for statement in self.subjects:
            found.update((await session.execute(text(statement))).scalars())
        return found


def _bind(accounts: Sequence[UUID], **more: Any) -> dict[str, Any]:
    return {"accounts": list(accounts), **more}


def _used(statement: str, bound: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in bound.items() if f":{name}" in statement}


_TYPES: dict[str, Any] = {"accounts": ARRAY(Uuid), "salt": LargeBinary, "case": Uuid}


def _prepared(statement: str) -> Any:
    typed = [bindparam(name, type_=kind) for name, kind in _TYPES.items() if f":{name}" in statement]
    return text(statement).bindparams(*typed)


async def _count_retained(session: AsyncSession, rule: RetainRule, bound: dict[str, Any]) -> list[RetainedRows]:
    rows = await session.execute(_prepared(rule.count), _used(rule.count, bound))
    return [RetainedRows(rule=rule.name, ground=rule.ground, until=_day(until), count=count) for until, count in rows]


def _day(until: date | None) -> date | None:
    return until.date() if isinstance(until, datetime) else until


def _depth(table: Table) -> int:
    mark = table_mark(table)
    return 0 if isinstance(mark, Subject) and mark.via is not None else 1


def owner_condition(mark: Subject) -> str:
    """Return the SQL condition under which a row belongs to one of `:accounts`."""
    if mark.via is None:
        return f"{mark.column} = ANY(:accounts)"
    via = mark.via
    return f"{mark.column} IN (SELECT {via.key} FROM {via.table} WHERE {via.account} = ANY(:accounts))"


def _files(table: Table) -> Iterator[str]:
    """Files of rows that are erased; columns of category `file.…` hold their keys."""
    mark = table_mark(table)
    if not isinstance(mark, Subject):
        return
    for column in table.columns:
        found = column_mark(column)
        if isinstance(found, Personal) and found.category.startswith("file.") and found.erase is not Erase.RETAIN:
            condition = _erased(mark, owner_condition(mark))
            yield (
                f"INSERT INTO file_deletions (case_id, path) SELECT :case, {column.name} FROM {table.name}"
                f" WHERE {column.name} IS NOT NULL AND {condition}"
            )


def _rules(table: Table) -> Iterator[Rule]:
    mark = table_mark(table)
    if isinstance(mark, Subject):
        yield from _own_rows(table, mark)
    owner = mark.column if isinstance(mark, Subject) and mark.via is None else None
    for column in table.columns:
        found = column_mark(column)
        # RETAIN: an erasure case names its account until it is completed.
        if not isinstance(found, PersonRef) or not isinstance(column.type, Uuid) or column.name == owner:
            continue
        if found.erase is not Erase.RETAIN:
            yield _second_person(table, column, found)


def _is_reference(column: Column[Any]) -> bool:
    return isinstance(column_mark(column), PersonRef) and isinstance(column.type, Uuid)


def _erased(mark: Subject, condition: str) -> str:
    return condition if mark.retention is None else f"{condition} AND NOT ({mark.retention.when})"


def _own_rows(table: Table, mark: Subject) -> Iterator[Rule]:
    owner = owner_condition(mark)
    if mark.row is Row.DELETE or _deletes_row(table):
        condition = _erased(mark, owner)
        orphanless = _erased(
            mark, "true" if mark.via or not table.columns[mark.column].nullable else f"{mark.column} IS NOT NULL"
        )
        yield Rule(
            name=table.name,
            erase=_counted(f"DELETE FROM {table.name} WHERE {condition} RETURNING 1", clean="true"),
            remaining=f"SELECT count(*) FROM {table.name} WHERE {condition}",
            tenant_remaining=f"SELECT count(*) FROM {table.name} WHERE {orphanless}",
            orphans=f"DELETE FROM {table.name} WHERE {orphanless}",
        )
    if mark.row is not Row.DELETE:
        rule = _cleared(table, mark, owner)
        if rule is not None:
            yield rule


def _deletes_row(table: Table) -> bool:
    marks = (column_mark(column) for column in table.columns)
    return any(isinstance(m, Personal) and m.erase is Erase.DELETE_ROW for m in marks)


def _cleared(table: Table, mark: Subject, owner: str) -> Rule | None:
    """The row stays: every column that says something is emptied, and the person's id with them."""
    changes: dict[str, str] = {}
    clean: list[str] = []
    named: list[str] = []
    for column in table.columns:
        value, proof = _erasure_of(column)
        # Somebody else's id on the person's row is somebody else's: only its own rule touches it.
        is_other = isinstance(column_mark(column), PersonRef) and column.name != mark.column
        if value is None or is_other:
            continue
        changes[column.name] = value
        if proof is not None:
            clean.append(f"({proof})")
            named.append(f"({proof})".replace("NOT :remove OR ", ""))
    if not changes:
        return None
    assignments = ", ".join(f"{name} = {value}" for name, value in changes.items())
    is_clean = " AND ".join(clean) or "true"
    still_owned = owner if mark.via is None else f"{owner} AND NOT ({is_clean})"
    condition = owner if mark.via is None else still_owned
    statement = f"UPDATE {table.name} SET {assignments} WHERE {condition} RETURNING ({is_clean}) AS clean"
    unnamed = f"NOT ({' AND '.join(named) or 'true'})"
    return Rule(
        name=f"{table.name}.{'+'.join(changes)}"[:64],
        erase=_counted(statement, clean="clean"),
        remaining=f"SELECT count(*) FROM {table.name} WHERE {still_owned}".replace("NOT :remove OR ", ""),
        tenant_remaining=f"SELECT count(*) FROM {table.name} WHERE {unnamed}",
        orphans=f"UPDATE {table.name} SET {assignments} WHERE {unnamed}",
    )


def _erasure_of(column: Column[Any]) -> tuple[str | None, str | None]:
    """Return the SQL value that erases a column and the SQL proof that it is erased; (None, None) = untouched."""
    mark = column_mark(column)
    if column.computed is not None:
        return None, None
    match mark:
        case Personal(erase=Erase.NULL) | Link(erase=Erase.NULL) | PersonRef(erase=Erase.NULL):
            return "NULL", f"{column.name} IS NULL"
        case Personal(erase=Erase.GENERALIZE, to=constant):
            return f"'{constant}'", f"{column.name} = '{constant}'"
        case Personal(erase=Erase.BY_CHOICE):
            masked = f"regexp_replace({column.name}, '{CONTACTS}', '{MASK}', 'g')"
            return f"CASE WHEN :remove THEN NULL ELSE {masked} END", f"NOT :remove OR {column.name} IS NULL"
        case PersonRef(erase=Erase.SURROGATE, scope=scope):
            return f"surrogate(:salt, {scope}::text, {column.name})", None
        case _:
            return None, None


def _second_person(table: Table, column: Column[Any], mark: PersonRef) -> Rule:
    name = f"{table.name}.{column.name}"
    remaining = f"SELECT count(*) FROM {table.name} WHERE {column.name} = ANY(:accounts)"
    if mark.erase is Erase.DELETE_ROW:
        erase = f"DELETE FROM {table.name} WHERE {column.name} = ANY(:accounts) RETURNING 1"
        return Rule(
            name, _counted(erase, clean="true"), remaining, f"SELECT count(*) FROM {table.name}" + _own_tenant(table)
        )
    if mark.erase is Erase.SURROGATE:
        value, left = f"surrogate(:salt, {mark.scope}::text, {column.name})", "SELECT 0"
    else:
        value, left = (
            "NULL",
            f"SELECT count(*) FROM {table.name} WHERE {column.name} IS NOT NULL" + _own_tenant(table, "AND"),
        )
    erase = f"UPDATE {table.name} SET {column.name} = {value} WHERE {column.name} = ANY(:accounts) RETURNING 1"
    return Rule(name, _counted(erase, clean="true"), remaining, left)


def _own_tenant(table: Table, glue: str = "WHERE") -> str:
    """Platform tables know no row security, and some no tenant: those are emptied by account, not counted by tenant."""
    if "tenant_id" in table.columns:
        return f" {glue} tenant_id = current_setting('cowork.tenant')::uuid"
    return f" {glue} false"


def _retained(table: Table) -> Iterator[RetainRule]:
    mark = table_mark(table)
    if not isinstance(mark, Subject) or mark.retention is None:
        return
    retention = mark.retention
    yield RetainRule(
        name=table.name,
        ground=retention.ground,
        count=(
            f"SELECT ({retention.until}) AS until, count(*) FROM {table.name} WHERE {owner_condition(mark)}"
            f" AND ({retention.when}) GROUP BY 1 ORDER BY 1"
        ),
    )


def _subjects(table: Table) -> Iterator[str]:
    if "tenant_id" not in table.columns:
        return
    for column in table.columns:
        if _is_reference(column):
            own = _own_tenant(table, "AND")
            yield f"SELECT DISTINCT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL{own}"


def _counted(statement: str, *, clean: str) -> str:
    return f"WITH touched AS ({statement}) SELECT count(*), count(*) FILTER (WHERE NOT ({clean})) FROM touched"
