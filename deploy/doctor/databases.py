"""Databases: reachable, of a version that is tested, with their extensions, on the same clock, and migrated."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, make_url, text

from deploy.doctor.checks import of_service, of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import LEDGER, NotChecked, Site
from deploy.embedded.provision import EXTENSIONS
from services.privacy.ledger.database import scripts as ledger_scripts
from shared.migrate import as_owner, differences, scripts_of, unknown_revisions

OLDEST, NEWEST = 15, 18
# Seconds between two clocks: tokens and cooling-off times bear a few, nobody bears half a minute.
SKEW_WARNING, SKEW_FAILED = 2.0, 30.0


@of_service("databases")
async def check_database(site: Site, service: str) -> list[Finding]:
    """The database answers, PostgreSQL is 15 to 18, and the extensions are there."""
    reason = await site.why_unreachable(service)
    if reason is not None:
        return [failed(reason, server=_server(site, service), database=_url(site, service).database or "")]
    async with site.session(service) as session:
        major = int(await session.scalar(text("SHOW server_version_num")) or 0) // 10_000
        present = set((await session.execute(text("SELECT extname FROM pg_extension"))).scalars())
    found: list[Finding] = []
    if major < OLDEST:
        found.append(failed("too_old", version=major, oldest=OLDEST))
    elif major > NEWEST:
        found.append(warning("too_new", version=major, newest=NEWEST))
    missing = sorted(set(EXTENSIONS) - present)
    if missing:
        create = "; ".join(f"CREATE EXTENSION {name}" for name in missing)
        found.append(
            failed("extensions", extensions=missing, create=create, database=_url(site, service).database or "")
        )
    return found or [ok()]


@of_suite("clock")
async def check_clock(site: Site) -> list[Finding]:
    """This machine and each database server agree about the time."""
    servers = {_server(site, service): service for service in site.services}
    if not servers:
        raise NotChecked("unconfigured")
    found: list[Finding] = []
    for server, service in servers.items():
        skew = await _skew(site, service)
        if abs(skew) > SKEW_WARNING:
            judge = failed if abs(skew) > SKEW_FAILED else warning
            found.append(judge("ahead" if skew > 0 else "behind", server=server, seconds=round(abs(skew), 1)))
    return found or [ok()]


async def _skew(site: Site, service: str) -> float:
    """Return by how many seconds this machine is ahead of a database server; the way there counts half."""
    async with site.session(service) as session:
        await session.execute(text("SELECT 1"))
        asked_at, asked = datetime.now(UTC), time.monotonic()
        theirs: datetime = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
        half_the_way = (time.monotonic() - asked) / 2
    return (asked_at - theirs).total_seconds() + half_the_way


@of_service("migrations", seconds=60)
async def check_migrations(site: Site, service: str) -> list[Finding]:
    """The database has every revision of the code, and the tables that the models say; or it is newer, on the way back.

    Revisions are the owner's to read; without its address the tables alone are compared.
    """
    await site.database(service)
    owner = site.owners.get(service)
    async with site.comparing:
        if owner is not None:
            missing, unknown = await revisions(service, owner)
            # First: what a newer version has migrated lacks our newest revision, too, and its tables are not ours to judge.
            if unknown:
                return [warning("beyond", revisions=sorted(unknown))]
            if missing:
                return [failed("behind", revisions=sorted(missing))]
        different = await differences(service, owner or site.services[service].database_url.get_secret_value())
    if different:
        return [failed("different", count=len(different), tables=sorted(set(_tables(different))))]
    return [ok()]


async def revisions(name: str, owner_url: str) -> tuple[set[str], set[str]]:
    """Return the newest revisions that a service's database, or the ledger's, lacks, and those that only a newer code knows."""
    scripts = ledger_scripts() if name == LEDGER else scripts_of(name)
    current: set[str] = set()

    def read(connection: Connection) -> None:
        current.update(MigrationContext.configure(connection).get_current_heads())

    await as_owner(owner_url, read)
    return set(scripts.get_heads()) - current, unknown_revisions(scripts, current)


def _tables(different: list[object]) -> Iterator[str]:
    """Name the tables in Alembic's differences, which are tuples and lists of tuples."""
    for one in different:
        if isinstance(one, list):
            yield from _tables(one)
        elif isinstance(one, tuple):
            yield next((str(getattr(part, "name", part)) for part in _about_table(one)), "?")


def _about_table(difference: tuple[object, ...]) -> Iterator[object]:
    """Yield what may name a table: `(add_table, table)`, `(add_column, schema, table, column)`, `(add_index, index)`."""
    kind, *rest = difference
    if str(kind).endswith(("_column", "modify_type", "modify_nullable", "modify_default", "modify_comment")):
        rest = rest[1:]
    for part in rest:
        table = getattr(part, "table", None)
        yield table if table is not None else part


def _url(site: Site, service: str) -> URL:
    return make_url(site.get_service(service).database_url.get_secret_value())


def _server(site: Site, service: str) -> str:
    """Return host:port, without who and with which password."""
    url = _url(site, service)
    return f"{url.host}:{url.port or 5432}"
