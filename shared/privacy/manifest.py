"""The data map of one service, derived from its models' marks, and the faults it must not have."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Column, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import PLATFORM
from shared.privacy.hooks import PLATFORM_STORES, Store
from shared.privacy.marks import (
    MARK,
    ColumnMark,
    Erase,
    Link,
    NotPersonal,
    Personal,
    PersonRef,
    Row,
    Subject,
    Sweep,
    TableMark,
)
from shared.privacy.tables import OWN_STORES


def column_mark(column: Column[Any]) -> ColumnMark | None:
    return column.info.get(MARK)


def table_mark(table: Table) -> TableMark | None:
    return table.info.get(MARK)


def sweep_of(table: Table) -> Sweep | None:
    return table.info.get("sweep")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a service holds. `digest` is the SHA-256 of its canonical JSON; receipts carry it."""

    service: str
    tables: tuple[Table, ...]
    stores: tuple[Store, ...]
    digest: str

    @classmethod
    def of(cls, service: str, metadata: MetaData, stores: Sequence[Store] = ()) -> "Manifest":
        tables = (*metadata.sorted_tables, *PLATFORM.sorted_tables)
        content = _content(service, tables, (*PLATFORM_STORES, *stores))
        digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return cls(service, tables, (*PLATFORM_STORES, *stores), f"sha256:{digest[:48]}")

    def content(self) -> dict[str, Any]:
        """Return the manifest as JSON-ready data: service, tables with columns and rules, stores."""
        return {**_content(self.service, self.tables, self.stores), "digest": self.digest}

    def faults(self) -> list[str]:
        """Return what is wrong with the marks; the architecture tests demand none."""
        return [fault for table in self.tables for fault in _faults(table)]


def _content(service: str, tables: Sequence[Table], stores: Sequence[Store]) -> dict[str, Any]:
    return {
        "service": service,
        "tables": [_table_content(table) for table in tables],
        "stores": [
            {"name": s.name, "holds": s.holds, "erased_by": s.erased_by, "max_age_days": s.max_age_days} for s in stores
        ],
    }


def _table_content(table: Table) -> dict[str, Any]:
    mark = table_mark(table)
    content: dict[str, Any] = {"table": table.name, "columns": [_column_content(c) for c in table.columns]}
    if isinstance(mark, Subject):
        content |= {"subject": mark.column, "on_erasure": mark.row, "orphan": mark.orphan}
        if mark.retention is not None:
            retention = mark.retention
            content["retention"] = {"ground": retention.ground, "article": retention.article, "until": retention.until}
    sweep = sweep_of(table)
    if sweep is not None:
        content["keep"] = sweep.keep
    return content


def _column_content(column: Column[Any]) -> dict[str, Any]:
    mark = column_mark(column)
    kind: dict[str, Any]
    match mark:
        case Personal():
            kind = {
                "category": mark.category, "erase": mark.erase, "export": mark.export, "purpose": mark.purpose,
                "basis": mark.basis, "keep": mark.keep,
            }  # fmt: skip
        case PersonRef():
            kind = {"person": True, "erase": mark.erase}
        case Link():
            kind = {"link": mark.target, "erase": mark.erase}
        case NotPersonal():
            kind = {"not_personal": mark.reason}
        case None:
            kind = {}
    return {"column": column.name, **kind}


def _faults(table: Table) -> Iterator[str]:
    mark = table_mark(table)
    if mark is None:
        yield f"{table.name}: the table says nothing about its person"
    marks = {column.name: column_mark(column) for column in table.columns}
    for name, found in marks.items():
        where = f"{table.name}.{name}"
        if found is None:
            yield f"{where}: unmarked"
        elif isinstance(found, Personal) and not isinstance(mark, Subject):
            yield f"{where}: personal, but its table leads to no person"
        # The bus's and the engine's own stores are emptied by redaction, whatever their types.
        column = table.columns[name]
        if table.name not in OWN_STORES and _is_nulled(found) and not column.nullable and column.computed is None:
            yield f"{where}: erased to NULL, but NOT NULL"
        if isinstance(found, PersonRef) and found.scope is not None and found.scope not in marks:
            yield f"{where}: its surrogate's scope {found.scope} is no column"
    names_people = isinstance(mark, Subject) or any(isinstance(found, PersonRef) for found in marks.values())
    if names_people and table.name not in OWN_STORES and "tenant_id" not in marks:
        yield f"{table.name}: names people, but no tenant whose end takes them along"
    if isinstance(mark, Subject):
        yield from _subject_faults(table, mark, marks)


def _is_nulled(mark: ColumnMark | None) -> bool:
    return isinstance(mark, Personal | PersonRef | Link) and mark.erase in (Erase.NULL, Erase.BY_CHOICE)


def _subject_faults(table: Table, mark: Subject, marks: dict[str, ColumnMark | None]) -> Iterator[str]:
    if mark.column not in marks:
        yield f"{table.name}: {mark.column} is no column"
        return
    if table.columns[mark.column].nullable and mark.orphan is None:
        yield f"{table.name}: {mark.column} may be NULL and no orphan rule says what that means"
    if mark.via is None and not isinstance(marks[mark.column], PersonRef):
        yield f"{table.name}: {mark.column} is no person_ref"
    for name, found in marks.items():
        if mark.row is Row.KEEP and isinstance(found, Personal) and found.erase in (Erase.DELETE_ROW, Erase.RETAIN):
            yield f"{table.name}.{name}: its row is kept, so it cannot be {found.erase}"
        if isinstance(found, Personal) and found.erase is Erase.RETAIN and mark.row is not Row.RETAIN:
            yield f"{table.name}.{name}: RETAIN without the table's ground"


_CENSUS = text(
    "SELECT c.relname AS table_name, a.attname AS column_name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
    " AND c.relname <> 'alembic_version'"
)


async def census(connection: AsyncConnection, manifest: Manifest) -> list[str]:
    """Compare a migrated database with the marks, both ways; return what differs."""
    actual = {(row.table_name, row.column_name) for row in await connection.execute(_CENSUS)}
    marked = {(t.name, c.name) for t in manifest.tables for c in t.columns if column_mark(c) is not None}
    missing = [f"{table}.{column}: in the database, not in the marks" for table, column in actual - marked]
    extra = [f"{table}.{column}: marked, not in the database" for table, column in marked - actual]
    return sorted(missing + extra)
