"""A restored service as its owner sees it: under row security, though nobody but the owner may connect."""

import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deploy.backup.places import Place, connected
from shared.db import Database
from shared.events import SERVICES
from shared.migrate import metadata_of
from shared.privacy.erasure import Eraser
from shared.privacy.hooks import PersonalData
from shared.privacy.manifest import Manifest, column_mark
from shared.privacy.marks import Erase, PersonRef
from shared.privacy.rules import accounts_of
from shared.privacy.tables import OWN_STORES

# Looking through a whole tenant at once is no request that somebody waits for.
LONGEST_SECONDS = 3600.0
_IS_ABOVE = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
_FORCE = """DO $$ DECLARE found record; BEGIN
 FOR found IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity
 LOOP EXECUTE format('ALTER TABLE %s {} ROW LEVEL SECURITY', found.name); END LOOP; END $$"""


class AboveRowSecurity(RuntimeError):
    """An owner role that sees every tenant's rows: erasing one tenant with it would erase all."""


@dataclass(frozen=True, slots=True)
class KeptService:
    """`references` are (table, statement that selects the account ids in it), without what a case keeps."""

    name: str
    database: Database
    eraser: Eraser
    references: tuple[tuple[str, str], ...]


@asynccontextmanager
async def kept_services(place: Place) -> AsyncIterator[Mapping[str, KeptService]]:
    """Yield every service; while the body runs, row security binds the owner roles, too.

    The application roles, whom it always binds, may not connect yet. If this process dies, so does what it has forced:
    the next restore makes every table anew.
    """
    await refuse_above_row_security(place)
    services = {name: _kept(name, place.owners[name]) for name in SERVICES}
    for name in SERVICES:
        async with connected(place.owners[name]) as owner:
            await owner.execute(_FORCE.format("FORCE"))
    try:
        yield services
    finally:
        for name in SERVICES:
            await services[name].database.close()
            async with connected(place.owners[name]) as owner:
                await owner.execute(_FORCE.format("NO FORCE"))


async def refuse_above_row_security(place: Place) -> None:
    """Raise AboveRowSecurity for an owner role that row security does not bind even when it is forced."""
    for name in SERVICES:
        async with connected(place.owners[name]) as owner:
            if await owner.fetchval(_IS_ABOVE):
                raise AboveRowSecurity(
                    f"{name}'s owner role is a superuser or has BYPASSRLS: restore with a plain role that owns the database"
                )


def _kept(name: str, address: str) -> KeptService:
    module = importlib.import_module(f"services.{name}.personal_data")
    data: PersonalData = getattr(module, "PERSONAL_DATA", None) or module.personal_data
    manifest = Manifest.of(name, metadata_of(name), data.stores)
    database = Database(address, pool_size=2, application_name="cowork-restore", answer_seconds=LONGEST_SECONDS)
    return KeptService(name, database, Eraser(name, manifest, data), tuple(_references(manifest)))


def _references(manifest: Manifest) -> list[tuple[str, str]]:
    found = []
    for table in manifest.tables:
        marks = [column_mark(column) for column in table.columns]
        retains = any(isinstance(mark, PersonRef) and mark.erase is Erase.RETAIN for mark in marks)
        if table.name not in OWN_STORES and not retains:
            found += [(table.name, statement) for statement in accounts_of(table)]
    return found
