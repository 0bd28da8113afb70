"""The ledger's database: its migrations, and what its application role may do."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from services.privacy.ledger.tables import LEDGER
from shared.migrate import as_owner, context_of, run_revisions

FOLDER = Path(__file__).parent / "migrations"
# Nobody rewrites an entry; old ones are deleted, and a trigger asks for the checkpoint that takes their place.
_GRANTS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, DELETE ON entries, checkpoints TO {role}",
    "GRANT SELECT, INSERT, UPDATE ON runs TO {role}",
)


def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])


async def upgrade_ledger(owner_url: str) -> bool:
    """Bring the ledger's database to its newest revision; `owner_url` and answer as for `shared.migrate.upgrade`."""
    return bool(await as_owner(owner_url, _upgrade))


async def ledger_differences(owner_url: str) -> list[object]:
    """Return how the migrated database differs from its tables here (empty: nothing)."""
    found: list[object] = []
    await as_owner(owner_url, lambda connection: found.extend(compare_metadata(context_of(connection, LEDGER), LEDGER)))
    return found


def _upgrade(connection: Connection) -> bool:
    if not run_revisions(connection, scripts()):
        return False
    owner = connection.execute(text("SELECT current_user")).scalar_one()
    for grant in _GRANTS:
        connection.exec_driver_sql(grant.format(role=owner.removesuffix("_owner") + "_app"))
    return True
