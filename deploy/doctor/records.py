"""The last backup and the last restore drill, as the backup has written them down beside the ledger."""

import asyncio
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, ok, warning
from deploy.doctor.site import CONNECT_SECONDS, NotChecked, Site
from services.privacy.settings import Settings
from shared.db import LOST, Database, utc_now

BACKUP_AT_LEAST_EVERY = timedelta(days=2)
DRILL_AT_LEAST_EVERY = timedelta(days=92)

# The contract with whoever writes: a backup or drill that has come to a good end leaves its instant in the table
# runs(kind, finished_at) of the ledger's database, kind `backup` or `drill`.
_RUNS = text("SELECT kind, max(finished_at) AS finished_at FROM runs GROUP BY kind")

# No table, no column of this name, no right to read it.
_NO_SUCH_TABLE = ("42P01", "42703", "42501")


@of_suite("backup")
async def check_backup(site: Site) -> list[Finding]:
    """The last backup that came to a good end is not older than two days."""
    return _judged((await last_runs(site)).get("backup"), BACKUP_AT_LEAST_EVERY)


@of_suite("drill")
async def check_drill(site: Site) -> list[Finding]:
    """A restore was tried, and came to a good end, within the last quarter."""
    return _judged((await last_runs(site)).get("drill"), DRILL_AT_LEAST_EVERY)


async def last_runs(site: Site) -> dict[str, datetime]:
    """Return when the last run of each kind has ended; empty where nothing was ever written down, or there is no such table.

    Raises NotChecked when the ledger's database does not answer.
    """
    database = Database(_ledger_address(site), pool_size=1, application_name="cowork-doctor")
    try:
        async with asyncio.timeout(CONNECT_SECONDS), database.transaction() as session:
            rows = (await session.execute(_RUNS)).all()
    except (*LOST, DBAPIError, TimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "sqlstate", None) in _NO_SUCH_TABLE:
            return {}
        raise NotChecked("unreachable") from error
    finally:
        await database.close()
    return {row.kind: row.finished_at for row in rows}


def _ledger_address(site: Site) -> str:
    """Return the address of the ledger's own database. Raises NotChecked."""
    return cast(Settings, site.get_service("privacy")).ledger_url.get_secret_value()


def _judged(last: datetime | None, at_least_every: timedelta) -> list[Finding]:
    if last is None:
        return [warning("unknown")]
    age = utc_now() - last
    if age > at_least_every:
        return [warning("old", days=age.days, at_most=at_least_every.days)]
    return [ok(days=max(age.days, 0))]
