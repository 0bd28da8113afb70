"""Everything that a service holds about one person, for access (Article 15) and portability (Article 20)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Table, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Uuid

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
    files: tuple[str, ...]


def _sections(manifest: Manifest) -> Iterator[_Section]:
    for table in manifest.tables:
        mark = table_mark(table)
        if table.name in OWN_STORES or not isinstance(mark, Subject):
            continue
        schema = dict(_schema(table))
        if any("category" in column for column in schema.values()):
            files = tuple(name for name, column in schema.items() if column.get("category", "").startswith("file."))
            rows = f"FROM {table.name} WHERE {owner_condition(mark)}"
            yield _Section(table.name, rows, schema, files)


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
    found: dict[str, Any] = {}
    for section in _sections(manifest):
        query = f"SELECT {', '.join(section.schema)} {section.rows} ORDER BY 1"
        rows = (await session.execute(_bound(query), {"accounts": [account_id]})).mappings().all()
        if rows:
            shown = [{name: _shown(section, name, value, account_id) for name, value in row.items()} for row in rows]
            found[section.table] = {"schema": section.schema, "rows": shown}
    return found


async def files_of(session: AsyncSession, manifest: Manifest, account_id: UUID) -> list[str]:
    """Return the keys of the person's files in this service's store."""
    keys: list[str] = []
    for section in _sections(manifest):
        for column in section.files:
            query = f"SELECT {column} {section.rows} AND {column} IS NOT NULL"
            keys.extend((await session.execute(_bound(query), {"accounts": [account_id]})).scalars())
    return keys


def _bound(query: str) -> Any:
    return text(query).bindparams(bindparam("accounts", type_=ARRAY(Uuid)))


def _shown(section: _Section, name: str, value: Any, account_id: UUID) -> Any:
    if "person" in section.schema[name] and value is not None:
        return SELF if value == account_id else OTHER
    if value is None or isinstance(value, str | int | float | bool | list | dict):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
