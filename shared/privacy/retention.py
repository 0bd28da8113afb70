"""Limited storage: the sweeps that the marks declare, run nightly in every service; dry run first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Table, TextClause, bindparam, func, select, text

from shared.bus.crash import crash
from shared.db import Database
from shared.privacy.manifest import Manifest, column_mark, sweep_of, table_mark
from shared.privacy.marks import Link, Personal, PersonRef, Subject
from shared.privacy.planner import exempt
from shared.privacy.rules import literal
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
        due = f"({sweep.due}){_not_held(table)}"
        change = f"DELETE FROM {table.name}"
        if sweep.action == "erase":
            emptied = _emptied(table)
            due += f" AND ({' OR '.join(f'{name} IS DISTINCT FROM {value}' for name, value in emptied.items())})"
            change = f"UPDATE {table.name} SET {', '.join(f'{name} = {value}' for name, value in emptied.items())}"
        # Materialized: the files that go and the rows that go are the same rows.
        batch = f"WITH due AS MATERIALIZED (SELECT ctid FROM {table.name} WHERE {due} LIMIT {BATCH_ROWS})"
        yield _SweepRule(
            table.name,
            sweep.keep,
            due=f"SELECT count(*) FROM {table.name} WHERE {due}",
            sweep=f"{batch}{_files(table)} {change} WHERE ctid IN (SELECT ctid FROM due)",
        )


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


def _emptied(table: Table) -> dict[str, str]:
    """Return what the columns of a row past its date become. A row that is so already is not due again."""
    emptied: dict[str, str] = {}
    for column in table.columns:
        mark = column_mark(column)
        if isinstance(mark, Personal) and mark.to is not None:
            emptied[column.name] = literal(mark.to)
        elif isinstance(mark, Personal | PersonRef | Link) and column.computed is None and column.nullable:
            emptied[column.name] = "NULL"
    return emptied


def _files(table: Table) -> str:
    """Files named by a row go with it."""
    keys = [
        f"SELECT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL AND ctid IN (SELECT ctid FROM due)"
        for column in table.columns
        if isinstance(mark := column_mark(column), Personal) and mark.category.startswith("file.")
    ]
    return f", files AS (INSERT INTO file_deletions (path) {' UNION ALL '.join(keys)})" if keys else ""


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
    async with database.transaction(tenant_id) as session, exempt(session):
        result: Any = await session.execute(_at(rule.sweep), {"now": now})
        crash("sweep.before_commit")
    crash("sweep.after_commit")
    return int(result.rowcount)


def _at(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("now", type_=DateTime(timezone=True)))


async def tenant_ids(database: Database, *, active_only: bool = False, queue: str | None = None) -> list[UUID]:
    """Return the tenants that this service knows, deactivated ones too: their retained records fall due as well.

    With `queue`, an index marked `QUEUE`, only those with a row in it: one question, however many tenants there are.
    """
    statement = select(tenants.c.tenant_id).order_by(tenants.c.tenant_id)
    if active_only:
        statement = statement.where(tenants.c.is_active)
    if queue is not None:
        statement = statement.where(tenants.c.tenant_id.in_(select(getattr(func, f"tenants_in_{queue}")())))
    async with database.transaction() as session:
        return list((await session.scalars(statement)).all())
