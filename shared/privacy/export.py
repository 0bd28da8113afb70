"""Everything that a service holds about one person, for access (Article 15) and portability (Article 20)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

from shared.db import fetch
from shared.privacy.manifest import Manifest, column_mark, table_mark
from shared.privacy.marks import Export, Link, NotPersonal, Personal, PersonRef, Subject
from shared.privacy.rules import owner_condition
from shared.privacy.tables import OWN_STORES

SELF = "you"
OTHER = "another member"


@dataclass(frozen=True, slots=True)
class _Section:
    table: str
    rows: str
    schema: dict[str, dict[str, str]]


def _sections(manifest: Manifest) -> Iterator[_Section]:
    for table in manifest.tables:
        mark = table_mark(table)
        if table.name in OWN_STORES or not isinstance(mark, Subject):
            continue
        schema = dict(_schema(table))
        if any("category" in column for column in schema.values()):
            rows = f"FROM {table.name} WHERE {owner_condition(mark)}"
            yield _Section(table.name, rows, schema)


def _schema(table: Table) -> Iterator[tuple[str, dict[str, str]]]:
    for column in table.columns:
        mark = column_mark(column)
        match mark:
            case Personal() if mark.export is not Export.NONE:
                kind = {"category": mark.category, "export": mark.export, "purpose": mark.purpose, "basis": mark.basis}
                yield column.name, {**kind, "keep": mark.keep}
            case PersonRef() if isinstance(column.type, Uuid):
                yield column.name, {"person": "true"}
            case Link():
                yield column.name, {"link": mark.target}
            case NotPersonal() if column.name not in ("tenant_id", "version"):
                yield column.name, {"about": mark.reason}


async def export_person(session: AsyncSession, manifest: Manifest, account_id: UUID) -> dict[str, Any]:
    """Return `{table: {schema, rows}}` of one account in the transaction's tenant, JSON-ready.

    Other people's ids are replaced: an export must not tell about them.
    """
    sections, query = _query(manifest)
    found: dict[str, Any] = {}
    for number, rows in await fetch(session, query, [account_id]) if query else ():
        section = sections[number]
        shown = [{name: _shown(section, name, value, account_id) for name, value in row.items()} for row in rows]
        found[section.table] = {"schema": section.schema, "rows": shown}
    return found


async def files_of(session: AsyncSession, manifest: Manifest, account_id: UUID) -> list[str]:
    """Return the keys of the person's files in this service's store."""
    query = _files_query(manifest)
    return [key for (key,) in await fetch(session, query, [account_id])] if query else []


@lru_cache
def _files_query(manifest: Manifest) -> str:
    return " UNION ALL ".join(
        f"SELECT {name} {_of_account(section)} AND {name} IS NOT NULL"
        for section in _sections(manifest)
        for name, column in section.schema.items()
        if column.get("category", "").startswith("file.")
    )


def _of_account(section: _Section) -> str:
    return section.rows.replace(":accounts", "$1::uuid[]")


@lru_cache
def _query(manifest: Manifest) -> tuple[tuple[_Section, ...], str]:
    """Return a service's sections and the one query that finds (number, rows as JSON) of those with any."""
    sections = tuple(_sections(manifest))
    parts = [
        f"SELECT {number}, (SELECT json_agg(found) FROM"
        f" (SELECT {', '.join(section.schema)} {_of_account(section)} ORDER BY 1) AS found)"
        for number, section in enumerate(sections)
    ]
    union = " UNION ALL ".join(parts)
    return sections, f"SELECT * FROM ({union}) AS found (number, rows) WHERE rows IS NOT NULL" if parts else ""


def _shown(section: _Section, name: str, value: Any, account_id: UUID) -> Any:
    if "person" in section.schema[name] and value is not None:
        return SELF if value == str(account_id) else OTHER
    return value
