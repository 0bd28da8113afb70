"""From marks to SQL: one rule per table or reference, each with the statement that erases and the counts that prove it.

Every condition is over the table's columns and `:accounts`, or `:held` where a whole tenant goes; row security adds
the tenant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.types import Uuid

from shared.db import PLATFORM
from shared.privacy.manifest import column_mark, table_mark
from shared.privacy.marks import Erase, Link, Personal, PersonRef, Row, Subject

# E-mail addresses and telephone numbers (nine digits or more after a +, a 0 or an opening bracket, so that dates and
# amounts stay) in words that their author chose to leave behind.
CONTACTS = r"[\w.%+-]+@[\w.-]+\w|(?:\+|\m0|\()[0-9]?(?:[ ().-]{0,2}[0-9]){8,14}"
MASK = "•••"
# One step of a walk: the rows that lie between two addresses.
STEP = "ctid >= CAST(:low AS tid) AND ctid < CAST(:high AS tid)"


@dataclass(frozen=True, slots=True)
class Walk:
    """How a rule goes through a whole tenant, in the order in which the rows lie, but for those of `:held` accounts.

    `locate` returns the first and the last row's address that `erase` would change; `erase` works on the addresses
    from `:low` to below `:high` and returns (changed, unclean); `files` note, before it, the files of the same rows.
    `remaining` counts what names anybody in the tenant, held or not.
    """

    locate: str
    erase: str
    remaining: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """`erase` changes rows and returns for each whether it is `clean`; `remaining` counts what still names the accounts.

    `is_mapped`: a map leads to the person, so the rule runs and is checked while the map is there.
    """

    name: str
    table: str
    erase: str
    remaining: str
    walk: Walk
    is_mapped: bool = False


@dataclass(frozen=True, slots=True)
class RetainRule:
    """Rows kept on a ground; both queries return (until, number) per end date, of accounts or of a whole tenant."""

    name: str
    ground: str
    of_accounts: str
    of_tenant: str


@dataclass(frozen=True, slots=True)
class _Emptied:
    """A column's erased value and the proof of it; `chosen` says that only REMOVE empties it.

    `in_tenant` is the value where the whole tenant goes, if it differs.
    """

    column: str
    value: str
    proof: str
    chosen: bool = False
    in_tenant: str | None = None


def rules_of(table: Table) -> Iterator[Rule]:
    """Yield the rules of one table: the person's own rows first, then what names somebody else on any row."""
    mark = table_mark(table)
    if isinstance(mark, Subject):
        if mark.row is Row.DELETE or _deletes_row(table):
            yield _deleted(table, mark)
        if mark.row is not Row.DELETE and (cleared := _cleared(table, mark)) is not None:
            yield cleared
    owner = mark.column if isinstance(mark, Subject) and mark.via is None else None
    for column in table.columns:
        if is_erased_reference(column) and column.name != owner:
            yield _second_person(table, column)


def retained_of(table: Table) -> Iterator[RetainRule]:
    mark = table_mark(table)
    if not isinstance(mark, Subject) or mark.retention is None:
        return
    retention = mark.retention
    counted = f"SELECT ({retention.until}) AS until, count(*) FROM {table.name} WHERE ({retention.when})"
    yield RetainRule(
        name=table.name,
        ground=retention.ground,
        of_accounts=f"{counted} AND {owner_condition(mark)} GROUP BY 1 ORDER BY 1",
        of_tenant=f"{counted} GROUP BY 1 ORDER BY 1",
    )


def files_of(table: Table) -> Iterator[str]:
    """Note the files of the accounts' rows that are erased; columns of category `file.…` hold their keys."""
    mark = table_mark(table)
    if isinstance(mark, Subject):
        yield from _noted_files(table, _unless_retained(mark, owner_condition(mark)))


def _noted_files(table: Table, condition: str) -> Iterator[str]:
    for column in table.columns:
        found = column_mark(column)
        if isinstance(found, Personal) and found.category.startswith("file.") and found.erase is not Erase.RETAIN:
            yield (
                f"INSERT INTO file_deletions (case_id, path) SELECT :case, {column.name} FROM {table.name}"
                f" WHERE {column.name} IS NOT NULL AND {condition}"
            )


def accounts_of(table: Table) -> Iterator[str]:
    """Select every account id that the transaction's tenant holds in a table."""
    if "tenant_id" not in table.columns:
        return
    for column in table.columns:
        if isinstance(column_mark(column), PersonRef) and isinstance(column.type, Uuid):
            yield f"SELECT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL{_of_tenant(table, 'AND')}"


def owner_condition(mark: Subject) -> str:
    """Return the SQL condition under which a row belongs to one of `:accounts`."""
    if mark.via is None:
        return f"{mark.column} = ANY(:accounts)"
    via = mark.via
    return f"{mark.column} IN (SELECT {via.key} FROM {via.table} WHERE {via.account} = ANY(:accounts))"


def is_erased_reference(column: Column[Any]) -> bool:
    """Whether the column names an account and erasure changes it (a case retains its account until it completes)."""
    mark = column_mark(column)
    return isinstance(mark, PersonRef) and mark.erase is not Erase.RETAIN and isinstance(column.type, Uuid)


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _deletes_row(table: Table) -> bool:
    marks = (column_mark(column) for column in table.columns)
    return any(isinstance(mark, Personal) and mark.erase is Erase.DELETE_ROW for mark in marks)


def _unless_retained(mark: Subject, condition: str) -> str:
    return condition if mark.retention is None else f"{condition} AND NOT ({mark.retention.when})"


def _deleted(table: Table, mark: Subject) -> Rule:
    mine = _unless_retained(mark, owner_condition(mark))
    has_orphans = mark.via is None and table.columns[mark.column].nullable
    anybodys = _unless_retained(mark, f"{mark.column} IS NOT NULL" if has_orphans else "true")
    delete = f"DELETE FROM {table.name} WHERE"
    return Rule(
        name=table.name,
        table=table.name,
        erase=f"{delete} {mine} RETURNING true AS clean",
        remaining=f"SELECT count(*) FROM {table.name} WHERE {mine}",
        walk=_walk(table, delete, anybodys, owner=mark, has_files=True),
        is_mapped=mark.via is not None,
    )


def _cleared(table: Table, mark: Subject) -> Rule | None:
    """The row stays: every column that says something is emptied, and the person's own id with them."""
    # Somebody else's id on the person's row is somebody else's: only its own rule touches it.
    own = [c for c in table.columns if not isinstance(column_mark(c), PersonRef) or c.name == mark.column]
    changes = [change for column in own if (change := _emptied(column, mark)) is not None]
    if not changes:
        return None
    asked = _all_of(f"NOT :remove OR {change.proof}" if change.chosen else change.proof for change in changes)
    always = _all_of(change.proof for change in changes if not change.chosen)
    emptied = _all_of(change.proof for change in changes)
    mine = owner_condition(mark)
    # The row's own reference to its person goes, too; where a map leads to it, only its values tell.
    is_released = mark.column in {change.column for change in changes}
    touched, left = (mine, mine) if is_released else (f"{mine} AND NOT ({emptied})", f"{mine} AND NOT ({always})")
    assignments = ", ".join(f"{change.column} = {change.value}" for change in changes)
    in_tenant = ", ".join(f"{change.column} = {change.in_tenant or change.value}" for change in changes)
    update = f"UPDATE {table.name} SET"
    return Rule(
        name=f"{table.name}.{'+'.join(change.column for change in changes)}"[:64],
        table=table.name,
        erase=f"{update} {assignments} WHERE {touched} RETURNING ({asked}) AS clean",
        remaining=f"SELECT count(*) FROM {table.name} WHERE {left}",
        walk=_walk(table, f"{update} {in_tenant} WHERE", f"NOT ({emptied})", owner=mark, clean=emptied, has_files=True),
        is_mapped=mark.via is not None,
    )


def _walk(
    table: Table, change: str, condition: str, *, owner: Subject, clean: str = "true", has_files: bool = False
) -> Walk:
    """Turn a statement about anybody's rows into steps over the tenant's rows."""
    held = owner_condition(owner).replace(":accounts", ":held")
    mine = f"({condition}){_of_tenant(table, 'AND')}"
    walked = f"{mine} AND ({held}) IS NOT TRUE"
    step = f"{STEP} AND {walked}"
    return Walk(
        locate=f"SELECT min(ctid), max(ctid) FROM {table.name} WHERE {walked}",
        erase=f"WITH changed AS ({change} {step} RETURNING ({clean}) AS clean)"
        " SELECT count(*), count(*) FILTER (WHERE NOT clean) FROM changed",
        remaining=f"SELECT count(*) FROM {table.name} WHERE {mine}",
        files=tuple(_noted_files(table, _unless_retained(owner, step))) if has_files else (),
    )


def _emptied(column: Column[Any], table_mark: Subject) -> _Emptied | None:
    """Return what erasure makes of a column of a row that stays; None = untouched."""
    name, retention = column.name, table_mark.retention
    if column.computed is not None:
        return None
    match column_mark(column):
        case Personal(erase=Erase.NULL) | Link(erase=Erase.NULL) | PersonRef(erase=Erase.NULL):
            return _Emptied(name, "NULL", f"{name} IS NULL")
        case Personal(erase=Erase.GENERALIZE, to=str(constant)):
            return _Emptied(name, literal(constant), f"{name} = {literal(constant)}")
        case Personal(erase=Erase.BY_CHOICE):
            masked = f"regexp_replace({name}, '{CONTACTS}', '{MASK}', 'g')"
            by_choice = f"CASE WHEN :remove THEN NULL ELSE {masked} END"
            return _Emptied(name, by_choice, f"{name} IS NULL", chosen=True, in_tenant="NULL")
        case Personal(erase=Erase.RETAIN) if retention is not None and retention.when != "true":
            kept = f"CASE WHEN {retention.when} THEN {name} END"
            return _Emptied(name, kept, f"({retention.when}) OR {name} IS NULL")
        case PersonRef(erase=Erase.SURROGATE, scope=str(scope)):
            # Nobody reads the threads of a tenant that goes: there, no two rows need to agree on their author.
            return _Emptied(name, _surrogate(name, scope), _is_surrogate(name), in_tenant=_any_surrogate(name))
        case _:
            return None


def _surrogate(name: str, scope: str) -> str:
    return f"surrogate(:salt, {scope}::text, {name})"


def _any_surrogate(name: str) -> str:
    return f"CASE WHEN {name} IS NOT NULL THEN gen_random_uuid() END"


def _is_surrogate(name: str) -> str:
    """Accounts have version 7 ids, surrogates version 4: the fifteenth character tells them apart."""
    return f"{name} IS NULL OR substr({name}::text, 15, 1) = '4'"


def _second_person(table: Table, column: Column[Any]) -> Rule:
    mark, name = column_mark(column), column.name
    assert isinstance(mark, PersonRef)
    mine, named = f"{name} = ANY(:accounts)", f"{name} IS NOT NULL"
    change = in_tenant = f"UPDATE {table.name} SET {name} = NULL WHERE"
    if mark.erase is Erase.DELETE_ROW:
        change = in_tenant = f"DELETE FROM {table.name} WHERE"
    elif mark.erase is Erase.SURROGATE:
        change = f"UPDATE {table.name} SET {name} = {_surrogate(name, str(mark.scope))} WHERE"
        in_tenant = f"UPDATE {table.name} SET {name} = {_any_surrogate(name)} WHERE"
        named = f"NOT ({_is_surrogate(name)})"
    return Rule(
        name=f"{table.name}.{name}",
        table=table.name,
        erase=f"{change} {mine} RETURNING true AS clean",
        remaining=f"SELECT count(*) FROM {table.name} WHERE {mine}",
        walk=_walk(table, in_tenant, named, owner=Subject(name, Row.KEEP)),
    )


def _of_tenant(table: Table, glue: str) -> str:
    """Platform tables know no row security; one without a tenant would be left alone (the manifest has a fault then)."""
    if table.metadata is not PLATFORM:
        return ""
    return (
        f" {glue} tenant_id = current_setting('cowork.tenant')::uuid"
        if "tenant_id" in table.columns
        else f" {glue} false"
    )


def _all_of(conditions: Iterator[str]) -> str:
    return " AND ".join(f"({condition})" for condition in conditions) or "true"
