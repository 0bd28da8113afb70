"""Migrations of one service: Alembic, then the DDL that is derived from the marks, in one transaction."""

import importlib
import re
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
        for metadata in (metadata_of(service), PLATFORM):
            found.extend(compare_metadata(_context(connection, metadata), metadata))

    await _as_owner(owner_url, compare)
    return found


async def write_revision(owner: str, owner_url: str, name: str) -> Path:
    """Write a migration from what the models have and the (migrated) database lacks; return its path.

    `owner` is a service, or "platform" for the tables that every service's database holds.
    """
    metadata = PLATFORM if owner == "platform" else metadata_of(owner)
    path = _folder(owner) / f"{date.today():%Y%m%d}_{name}.py"

    def render(connection: Connection) -> None:
        operations = produce_migrations(_context(connection, metadata), metadata)
        assert operations.upgrade_ops is not None
        body = _without_marks(render_python_code(operations.upgrade_ops))
        head = ScriptDirectory(str(_folder(owner)), version_locations=[str(_folder(owner))]).get_current_head()
        content = _TEMPLATE.format(title=name.replace("_", " "), revision=path.stem, previous=repr(head), body=body)
        path.write_text(content)

    await _as_owner(owner_url, render)
    return path


def _without_marks(body: str) -> str:
    """Marks live on the models; a migration is frozen without them."""
    body = re.sub(r",\n\s*info=\{.*\}\n", "\n", body)
    return (
        body.replace("astext_type=Text()", "astext_type=sa.Text()")
        .replace("ARRAY(Uuid())", "ARRAY(sa.Uuid())")
        .replace("ARRAY(Text())", "ARRAY(sa.Text())")
    )


_TEMPLATE = '''"""{title}"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "{revision}"
down_revision = {previous}


def upgrade() -> None:
    {body}
'''


def _folder(owner: str) -> Path:
    return ROOT / "shared" / "migrations" if owner == "platform" else ROOT / "services" / owner / "migrations"


def _scripts(service: str) -> ScriptDirectory:
    """A service's database has two lines of revisions: its own and the platform's."""
    locations = [str(_folder(service)), str(_folder("platform"))]
    return ScriptDirectory(str(_folder(service)), version_locations=locations)


def _context(connection: Connection, metadata: MetaData) -> MigrationContext:
    def is_ours(_: Any, name: str | None, kind: str, __: bool, ___: Any) -> bool:
        is_derived = kind == "index" and str(name).startswith(protection.PERSON_INDEX)
        return not is_derived and (kind != "table" or name in metadata.tables)

    options = {"compare_type": True, "compare_server_default": False, "include_object": is_ours}
    return MigrationContext.configure(connection, opts=options)


def _upgrade(connection: Connection, service: str) -> None:
    scripts = _scripts(service)

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs("heads", revision)

    environment = EnvironmentContext(Config(), scripts, fn=steps)
    environment.configure(connection=connection, target_metadata=[metadata_of(service), PLATFORM], fn=steps)
    with environment.begin_transaction():
        environment.run_migrations()
    owner = connection.execute(text("SELECT current_user")).scalar_one()
    for statement in protection.statements(metadata_of(service), owner.removesuffix("_owner") + "_app"):
        connection.exec_driver_sql(statement)
    for function in (*auth.FUNCTIONS, *idempotency.FUNCTIONS):
        connection.exec_driver_sql(function)


async def _as_owner(owner_url: str, work: Any) -> None:
    engine = create_async_engine(owner_url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.run_sync(work)
    finally:
        await engine.dispose()
