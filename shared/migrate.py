"""Migrations of one service: Alembic, then the DDL that is derived from the marks, in one transaction."""

import importlib
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

from shared import auth, idempotency, schedule  # noqa: F401 (they declare platform tables)
from shared.db import PLATFORM
from shared.privacy import protection, tables  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
# Any two processes that migrate the same database wait for each other.
MIGRATION_LOCK = 7_023_511


def metadata_of(service: str) -> MetaData:
    """Return the metadata of a service's models."""
    metadata: MetaData = importlib.import_module(f"services.{service}.models").Base.metadata
    return metadata


async def upgrade(service: str, owner_url: str) -> None:
    """Bring a service's database to the newest revision and renew its protection.

    `owner_url` is the owner role's address; the application role is the same name with `_app` for `_owner`.
    """
    await as_owner(owner_url, lambda connection: _upgrade(connection, service))


async def differences(service: str, owner_url: str) -> list[Any]:
    """Return how the migrated database differs from the models (empty: nothing)."""
    found: list[Any] = []

    def compare(connection: Connection) -> None:
        for metadata in (metadata_of(service), PLATFORM):
            found.extend(compare_metadata(context_of(connection, metadata), metadata))

    await as_owner(owner_url, compare)
    return found


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

    options = {"compare_type": True, "compare_server_default": False, "include_object": is_ours}
    return MigrationContext.configure(connection, opts=options)


def _upgrade(connection: Connection, service: str) -> None:
    run_revisions(connection, scripts_of(service), [metadata_of(service), PLATFORM])
    owner = connection.execute(text("SELECT current_user")).scalar_one()
    for statement in protection.statements(metadata_of(service), owner.removesuffix("_owner") + "_app"):
        connection.exec_driver_sql(statement)
    for function in (*auth.FUNCTIONS, *idempotency.FUNCTIONS):
        connection.exec_driver_sql(function)


def run_revisions(connection: Connection, scripts: ScriptDirectory, metadata: list[MetaData]) -> None:
    """Run every revision that the database has not had yet."""

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs("heads", revision)

    environment = EnvironmentContext(Config(), scripts, fn=steps)
    environment.configure(connection=connection, target_metadata=metadata, fn=steps)
    with environment.begin_transaction():
        environment.run_migrations()


async def as_owner(owner_url: str, work: Any) -> None:
    """Run `work(connection)` in one transaction of the owner; nobody else migrates meanwhile."""
    engine = create_async_engine(owner_url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.run_sync(work)
    finally:
        await engine.dispose()
