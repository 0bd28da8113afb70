"""The last backup and the last restore drill, as the backup has written them down beside the ledger."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import Site
from shared.db import LOST, Database, utc_now

BACKUP_AT_LEAST_EVERY = timedelta(days=2)
DRILL_AT_LEAST_EVERY = timedelta(days=92)

# The contract with whoever writes: table operations_log(kind, outcome, finished_at) in the ledger's database, kind `backup`
# or `drill`, outcome `done` when all was well.
_LAST = text(
    "SELECT DISTINCT ON (kind) kind, outcome, finished_at FROM operations_log WHERE finished_at IS NOT NULL"
    " ORDER BY kind, finished_at DESC"
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One that has ended."""

    finished_at: datetime
    is_done: bool


@of_suite("backup")
async def check_backup(site: Site) -> list[Finding]:
    """The last backup went well, and is not older than two days."""
    return _judged((await last_operations(site)).get("backup"), BACKUP_AT_LEAST_EVERY)


@of_suite("drill")
async def check_drill(site: Site) -> list[Finding]:
    """A restore was tried within the last quarter, and it went well."""
    return _judged((await last_operations(site)).get("drill"), DRILL_AT_LEAST_EVERY)


async def last_operations(site: Site) -> dict[str, Operation]:
    """Return the last ended operation of each kind; empty where nothing was ever written down, or no such table is there."""
    database = Database(_ledger_address(site), pool_size=1, application_name="cowork-doctor")
    try:
        async with database.transaction() as session:
            rows = (await session.execute(_LAST)).all()
    except (*LOST, DBAPIError):
        return {}
    finally:
        await database.close()
    return {row.kind: Operation(row.finished_at, row.outcome == "done") for row in rows}


def _ledger_address(site: Site) -> str:
    """Return the address of the ledger's own database, else of the one that the ledger is in. Raises NotChecked."""
    privacy = site.get_service("privacy")
    own: Any = site.doctor.ledger_url or getattr(privacy, "ledger_url", None) or privacy.database_url
    return str(own.get_secret_value())


def _judged(last: Operation | None, at_least_every: timedelta) -> list[Finding]:
    if last is None:
        return [warning("unknown")]
    age = utc_now() - last.finished_at
    if not last.is_done:
        return [failed("went_wrong", days=age.days)]
    if age > at_least_every:
        return [warning("old", days=age.days, at_most=at_least_every.days)]
    return [ok(days=max(age.days, 0))]
