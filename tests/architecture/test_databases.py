"""Every service's database against its marks: census, row security, guards, no statistics, nothing foreign readable."""

import importlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db import PLATFORM, Database, uuid7
from shared.events import SERVICES
from shared.migrate import differences, metadata_of
from shared.privacy.manifest import Manifest, census, column_mark, table_mark
from shared.privacy.marks import Erase, NotPersonal, PersonRef, Subject
from shared.privacy.tables import OWN_STORES

# Outside row security, with the reason: they belong to the suite, not to a tenant.
SUITE_TABLES = {
    "participants": "services that must answer",
    "ledger": "keyed hashes on their way to the ledger's own database",
    "signing_keys": "the keys that sign every tenant's tokens",
}


@dataclass
class Checked:
    name: str
    database: Database
    owner_url: str
    manifest: Manifest
    superuser: Any


@pytest.fixture(scope="module", params=SERVICES)
async def service(request: Any, databases: Any) -> AsyncIterator[Checked]:
    urls = await databases.clone(request.param)
    data = importlib.import_module(f"services.{request.param}.personal_data")
    stores = (getattr(data, "PERSONAL_DATA", None) or data.personal_data).stores
    database = Database(urls.app, pool_size=2)
    superuser = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=database.engine.url.database)
    manifest = Manifest.of(request.param, metadata_of(request.param), stores)
    yield Checked(request.param, database, urls.owner, manifest, superuser)
    await superuser.close()
    await database.close()


def business_tables(name: str) -> list[Any]:
    return [table for table in metadata_of(name).sorted_tables if table.name not in SUITE_TABLES]


async def test_every_column_says_what_it_holds(service: Checked) -> None:
    assert service.manifest.faults() == []
    async with service.database.engine.connect() as connection:
        assert await census(connection, service.manifest) == []


async def test_models_are_what_the_migrations_make(service: Checked) -> None:
    assert await differences(service.name, service.owner_url) == []


async def test_every_business_table_is_under_row_security(service: Checked) -> None:
    rows = await service.superuser.fetch(
        "SELECT relname, relrowsecurity, (SELECT count(*) FROM pg_policies p WHERE p.tablename = relname) AS policies"
        " FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
    )
    secured = {row["relname"] for row in rows if row["relrowsecurity"] and row["policies"] == 1}
    assert secured == {table.name for table in business_tables(service.name)}
    outside = {row["relname"] for row in rows} - secured
    assert outside == {table.name for table in PLATFORM.sorted_tables} | (outside & SUITE_TABLES.keys())


async def test_a_foreign_tenant_sees_and_writes_nothing_in_any_table(service: Checked) -> None:
    ours, theirs = uuid7(), uuid7()
    for table in business_tables(service.name):
        await insert_any_row(service.superuser, table, theirs)
        async with service.database.transaction(ours) as session:
            assert await session.scalar(text(f"SELECT count(*) FROM {table.name}")) == 0, table.name
        for change in (f"DELETE FROM {table.name}", f"UPDATE {table.name} SET tenant_id = tenant_id"):
            try:
                async with service.database.transaction(ours) as session:
                    result: Any = await session.execute(text(change))
                    assert result.rowcount == 0, table.name
            except DBAPIError as error:
                # A frozen document refuses before anything else is asked.
                if getattr(error.orig, "sqlstate", "") not in ("42501", "CW409"):
                    raise
        kept = await service.superuser.fetchval(f"SELECT count(*) FROM {table.name} WHERE tenant_id = $1", theirs)
        assert kept == 1, table.name
        with pytest.raises(DBAPIError):
            async with service.database.transaction(ours) as session:
                columns = ", ".join(f'"{c.name}"' for c in table.columns if c.computed is None)
                values = f"SELECT {columns} FROM {table.name} LIMIT 0"
                await session.execute(text(f"INSERT INTO {table.name} ({columns}) {values}"))
                await session.execute(text(f"INSERT INTO {table.name} (tenant_id) VALUES (:t)"), {"t": theirs})


async def insert_any_row(superuser: Any, table: Any, tenant_id: UUID) -> None:
    """A row of somebody else, written past triggers and foreign keys by the superuser."""
    columns = [c for c in table.columns if c.computed is None and c.identity is None]
    wanted = [c for c in columns if not c.nullable or c.name == "tenant_id"]
    names = ", ".join(f'"{c.name}"' for c in wanted)
    checks = await superuser.fetch(
        "SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c'", table.name
    )
    async with superuser.transaction():
        await superuser.execute("SET LOCAL session_replication_role = replica")
        for check in checks:
            await superuser.execute(f"ALTER TABLE {table.name} DROP CONSTRAINT {check['conname']}")
        values = ", ".join(f"'{tenant_id}'" if c.name == "tenant_id" else filler(c) for c in wanted)
        await superuser.execute(f"INSERT INTO {table.name} ({names}) VALUES ({values})")


def filler(column: Any) -> str:
    kind = str(column.type.compile(dialect=_dialect())).upper()
    if kind.startswith("UUID"):
        return f"'{uuid7()}'"
    for prefix, value in (
        ("BOOL", "false"), ("INT", "1"), ("BIGINT", "1"), ("SMALLINT", "1"), ("TIMESTAMP", "now()"), ("DATE", "current_date"),
        ("TIME", "'10:00'"), ("BYTEA", "'\\x00'"), ("JSON", "'{}'"), ("TSTZRANGE", "'empty'"), ("TSVECTOR", "''"),
    ):  # fmt: skip
        if kind.startswith(prefix):
            return value
    return "'{}'" if kind.endswith("[]") else "'x'"


def _dialect() -> Any:
    from sqlalchemy.dialects import postgresql

    return postgresql.dialect()


async def test_every_table_about_people_has_its_guard(service: Checked) -> None:
    rows = await service.superuser.fetch(
        "SELECT tgrelid::regclass::text AS name FROM pg_trigger WHERE tgname = 'guard'"
    )
    guarded = {row["name"] for row in rows}
    for table in business_tables(service.name):
        mark = table_mark(table)
        marks = [column_mark(c) for c in table.columns]
        refers = any(isinstance(m, PersonRef) and m.erase is not Erase.RETAIN for m in marks)
        needs = isinstance(mark, Subject) or refers
        is_exempt = isinstance(mark, Subject) and not mark.guard
        assert (table.name in guarded) == (needs and not is_exempt), table.name


async def test_statistics_keep_no_personal_value(service: Checked) -> None:
    rows = await service.superuser.fetch(
        "SELECT attrelid::regclass::text AS name, attname FROM pg_attribute WHERE attnum > 0 AND attstattarget = 0"
    )
    silent = {(row["name"], row["attname"]) for row in rows}
    for table in [*metadata_of(service.name).sorted_tables, *PLATFORM.sorted_tables]:
        for column in table.columns:
            if not isinstance(column_mark(column), NotPersonal):
                assert (table.name, column.name) in silent, f"{table.name}.{column.name}"


async def test_the_application_role_owns_nothing(service: Checked) -> None:
    role = service.database.engine.url.username
    owned = "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = $1)"
    assert await service.superuser.fetchval(owned, role) == 0
    with pytest.raises(DBAPIError):
        async with service.database.transaction() as session:
            await session.execute(text("ALTER TABLE tombstones DISABLE TRIGGER ALL"))


def test_the_engines_own_stores_are_platform_tables() -> None:
    assert {table.name for table in PLATFORM.sorted_tables} >= OWN_STORES
