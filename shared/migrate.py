"""Migrations of one service: Alembic, then the DDL that is derived from the marks, in one transaction."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

from shared import auth, idempotency, schedule  # noqa: F401 (they declare platform tables)
from shared.db import PLATFORM
from shared.privacy import protection, tables  # noqa: F401

log = structlog.get_logger()
ROOT = Path(__file__).resolve().parent.parent
# Any two processes that migrate the same database wait for each other.
MIGRATION_LOCK = 7_023_511


def metadata_of(service: str) -> MetaData:
    """Return the metadata of a service's models."""
    return cast(MetaData, importlib.import_module(f"services.{service}.models").Base.metadata)


async def upgrade(service: str, owner_url: str) -> bool:
    """Bring a service's database to the newest revision and renew its protection; False for one that is newer: it is
    left alone.

    `owner_url` is the owner role's address; the application role is the same name with `_app` for `_owner`.
    """
    return bool(await as_owner(owner_url, lambda connection: _upgrade(connection, service)))


async def differences(service: str, owner_url: str) -> list[Any]:
    """Return how the migrated database differs from the models (empty: nothing)."""

    def compare(connection: Connection) -> list[Any]:
        both = (metadata_of(service), PLATFORM)
        return [one for metadata in both for one in compare_metadata(context_of(connection, metadata), metadata)]

    return cast(list[Any], await as_owner(owner_url, compare))


def folder_of(owner: str) -> Path:
    return ROOT / "shared" / "migrations" if owner == "platform" else ROOT / "services" / owner / "migrations"


def scripts_of(service: str) -> ScriptDirectory:
    """A service's database has two lines of revisions: its own and the platform's."""
    locations = [str(folder_of(service)), str(folder_of("platform"))]
    return ScriptDirectory(str(folder_of(service)), version_locations=locations)


def context_of(connection: Connection, metadata: MetaData) -> MigrationContext:
    def is_ours(_: Any, name: str | None, kind: str, __: bool, ___: Any) -> bool:
        is_derived = kind == "index" and str(name).startswith(protection.PERSON_INDEX)
        return not is_derived and (kind != "table" or name in metadata.tables)

    return MigrationContext.configure(connection, opts={"include_object": is_ours})


def _upgrade(connection: Connection, service: str) -> bool:
    if not run_revisions(connection, scripts_of(service)):
        return False
    role = connection.execute(text("SELECT current_user")).scalar_one().removesuffix("_owner") + "_app"
    for statement in (*protection.statements(metadata_of(service), role), *auth.FUNCTIONS, *idempotency.FUNCTIONS):
        connection.exec_driver_sql(statement)
    return True


def unknown_revisions(scripts: ScriptDirectory, revisions: Iterable[str]) -> set[str]:
    """Return those revisions of a database that this code does not know: a newer version has migrated it."""
    return set(revisions) - {script.revision for script in scripts.walk_revisions()}


def run_revisions(connection: Connection, scripts: ScriptDirectory) -> bool:
    """Run every revision that the database has not had yet; False where a newer version has migrated it.

    Such a database is left alone: migrations never break the version before, which may be us, on the way back.
    """
    context = MigrationContext.configure(connection, opts={"fn": lambda had, _: scripts._upgrade_revs("heads", had)})
    if unknown := unknown_revisions(scripts, context.get_current_heads()):
        log.warning("migration.newer_left_alone", version=", ".join(sorted(unknown)))
        return False
    with Operations.context(context):
        context.run_migrations()
    return True


async def as_owner(owner_url: str, work: Any) -> Any:
    """Return `work(connection)`, run in one transaction of the owner; nobody else migrates meanwhile."""
    engine = create_async_engine(owner_url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            return await connection.run_sync(work)
    finally:
        await engine.dispose()
