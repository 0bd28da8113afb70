"""Migrations of one service: Alembic, then the DDL that is derived from the marks, in one transaction."""

import importlib
from datetime import date
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
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


class SchemaDiffers(RuntimeError):
    """The database is not what the models say; the differences are listed."""


def metadata_of(service: str) -> MetaData:
    """Return the metadata of a service's models."""
    metadata: MetaData = importlib.import_module(f"services.{service}.models").Base.metadata
    return metadata


async def upgrade(service: str, owner_url: str) -> None:
    """Bring a service's database to the newest revision and renew its protection.

    `owner_url` is the owner role's address; the application role is the same name with `_app` for `_owner`.
    """
    await _as_owner(owner_url, lambda connection: _upgrade(connection, service))


async def differences(service: str, owner_url: str) -> list[Any]:
    """Return how the migrated database differs from the models (empty: nothing)."""
    found: list[Any] = []

    def compare(connection: Connection) -> None:
        found.extend(compare_metadata(_context(connection), [metadata_of(service), PLATFORM]))  # type: ignore[arg-type]

    await _as_owner(owner_url, compare)
    return found


async def write_revision(service: str, owner_url: str, name: str) -> Path:
    """Write a migration from what the models have and the (migrated) database lacks; return its path."""
    path = _folder(service) / f"{date.today():%Y%m%d}_{name}.py"

    def render(connection: Connection) -> None:
        operations = produce_migrations(_context(connection), [metadata_of(service), PLATFORM])  # type: ignore[arg-type]
        assert operations.upgrade_ops is not None
        body = render_python_code(operations.upgrade_ops)
        heads = _scripts(service).get_heads()
        path.write_text(_TEMPLATE.format(name=name, revision=path.stem, previous=repr(heads[0] if heads else None), body=body))

    await _as_owner(owner_url, render)
    return path


_TEMPLATE = '''"""{name}"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "{revision}"
down_revision = {previous}


def upgrade() -> None:
    {body}
'''


def _folder(service: str) -> Path:
    return ROOT / "services" / service / "migrations"


def _scripts(service: str) -> ScriptDirectory:
    return ScriptDirectory(str(_folder(service)), version_locations=[str(_folder(service))])


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})


def _upgrade(connection: Connection, service: str) -> None:
    scripts = _scripts(service)

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs("head", revision)

    environment = EnvironmentContext(Config(), scripts, fn=steps)
    environment.configure(connection=connection, target_metadata=[metadata_of(service), PLATFORM], fn=steps)
    with environment.begin_transaction():
        environment.run_migrations()
    owner = connection.execute(text("SELECT current_user")).scalar_one()
    for statement in protection.statements(metadata_of(service), owner.removesuffix("_owner") + "_app"):
        connection.exec_driver_sql(statement)


async def _as_owner(owner_url: str, work: Any) -> None:
    engine = create_async_engine(owner_url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.run_sync(work)
    finally:
        await engine.dispose()
