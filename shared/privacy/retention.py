"""Limited storage: the sweeps that the marks declare, run nightly in every service; dry run first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Table, TextClause, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import Database
from shared.privacy.manifest import Manifest, column_mark, sweep_of, table_mark
from shared.privacy.marks import Link, Personal, PersonRef, Subject
from shared.privacy.tables import tenants

BATCH_ROWS = 1000
# Age of the platform's own stores (privacy.md: declared like tables).
PLATFORM_SWEEPS = {
    "event_log": "DELETE FROM event_log WHERE time < :now - interval '90 days' AND relayed_at IS NOT NULL",
    "inbox": "DELETE FROM inbox WHERE received_at < :now - interval '90 days'",
    "inbox_parked": "DELETE FROM inbox_parked WHERE state = 'dead' AND parked_at < :now - interval '90 days'",
    "idempotency_keys": "DELETE FROM idempotency_keys WHERE created_at < :now - interval '24 hours'",
    "revoked_sessions": "DELETE FROM revoked_sessions WHERE until < :now - interval '1 hour'",
}


@dataclass(frozen=True, slots=True)
class Due:
    """How many rows of a table are past the date that its retention rule sets."""

    table: str
    keep: str
    count: int


@dataclass(frozen=True, slots=True)
class _SweepRule:
    table: str
    keep: str
    due: str
    sweep: str


def _rules(manifest: Manifest) -> Iterator[_SweepRule]:
    for table in manifest.tables:
        sweep = sweep_of(table)
        if sweep is None or "tenant_id" not in table.columns or table.name in PLATFORM_SWEEPS:
            continue
        held = _not_held(table)
        due = f"SELECT count(*) FROM {table.name} WHERE ({sweep.due}){held}"
        batch = f"ctid IN (SELECT ctid FROM {table.name} WHERE ({sweep.due}){held} LIMIT {BATCH_ROWS})"
        files = _files(table, batch)
        change = (
            f"DELETE FROM {table.name}" if sweep.action == "delete" else f"UPDATE {table.name} SET {_emptied(table)}"
        )
        yield _SweepRule(table.name, sweep.keep, due, f"{files}{change} WHERE {batch}")


def _not_held(table: Table) -> str:
    """A legal hold on the row's person outlives the retention date."""
    mark = table_mark(table)
    if not isinstance(mark, Subject):
        return ""
    if mark.via is None:
        return f" AND ({mark.column} IS NULL OR {mark.column} NOT IN (SELECT account_id FROM holds))"
    via = mark.via
    held = f"SELECT {via.key} FROM {via.table} WHERE {via.account} IN (SELECT account_id FROM holds)"
    return f" AND ({mark.column} IS NULL OR {mark.column} NOT IN ({held}))"


def _emptied(table: Table) -> str:
    emptied = []
    for column in table.columns:
        mark = column_mark(column)
        if isinstance(mark, Personal | PersonRef | Link) and column.computed is None and column.nullable:
            emptied.append(f"{column.name} = NULL")
        elif isinstance(mark, Personal) and mark.to is not None:
            emptied.append(f"{column.name} = '{mark.to}'")
    return ", ".join(emptied)


def _files(table: Table, batch: str) -> str:
    """Files named by a row go with it."""
    keys = [
        column.name
        for column in table.columns
        if isinstance(mark := column_mark(column), Personal) and mark.category.startswith("file.")
    ]
    if not keys:
        return ""
    paths = " UNION ALL ".join(f"SELECT {key} FROM {table.name} WHERE {key} IS NOT NULL AND {batch}" for key in keys)
    return f"WITH files AS (INSERT INTO file_deletions (path) {paths}) "


async def preview(database: Database, manifest: Manifest, *, now: datetime) -> list[Due]:
    """Count, over all tenants, what `sweep` would delete or anonymize now, changing nothing."""
    found: dict[tuple[str, str], int] = {}
    for tenant_id in await tenant_ids(database):
        async with database.transaction(tenant_id) as session:
            for rule in _rules(manifest):
                count = await session.scalar(_at(rule.due), {"now": now})
                found[rule.table, rule.keep] = found.get((rule.table, rule.keep), 0) + int(count or 0)
    return [Due(table, keep, count) for (table, keep), count in found.items()]


async def sweep(database: Database, manifest: Manifest, *, now: datetime) -> list[Due]:
    """Delete or anonymize what is past its date, in batches; return the counts per rule."""
    swept: dict[tuple[str, str], int] = {}
    for tenant_id in await tenant_ids(database):
        for rule in _rules(manifest):
            while count := await _sweep_batch(database, tenant_id, rule, now=now):
                swept[rule.table, rule.keep] = swept.get((rule.table, rule.keep), 0) + count
    async with database.transaction() as session:
        for statement in PLATFORM_SWEEPS.values():
            await session.execute(_at(statement), {"now": now})
    return [Due(table, keep, count) for (table, keep), count in swept.items()]


async def _sweep_batch(database: Database, tenant_id: UUID, rule: _SweepRule, *, now: datetime) -> int:
    async with database.transaction(tenant_id) as session:
        await session.execute(text("SELECT set_config('cowork.erasing', 'on', true)"))
        result: Any = await session.execute(_at(rule.sweep), {"now": now})
        return int(result.rowcount)


def _at(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("now", type_=DateTime(timezone=True)))


async def tenant_ids(database: Database, *, active_only: bool = False) -> list[UUID]:
    """Return the tenants that this service knows, deactivated ones too: their retained records fall due as well."""
    async with database.transaction() as session:
        return await list_tenants(session, active_only=active_only)


async def list_tenants(session: AsyncSession, *, active_only: bool = False) -> list[UUID]:
    statement = select(tenants.c.tenant_id).order_by(tenants.c.tenant_id)
    if active_only:
        statement = statement.where(tenants.c.is_active)
    return list((await session.execute(statement)).scalars())
