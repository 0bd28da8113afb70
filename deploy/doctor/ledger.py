"""The erasure ledger: its own database is there, its chain is whole; and what it notes of backups and restore drills."""

from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import func, make_url, select

from deploy.doctor.checks import of_suite
from deploy.doctor.databases import revisions
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import LEDGER, Site
from services.privacy.ledger import ChainBroken, open_ledger
from services.privacy.ledger.database import ledger_differences
from services.privacy.ledger.tables import runs
from services.privacy.settings import Settings
from shared.db import utc_now

BACKUP_AT_LEAST_EVERY = timedelta(days=2)
DRILL_AT_LEAST_EVERY = timedelta(days=92)


@of_suite("ledger", seconds=60)
async def check_ledger(site: Site) -> list[Finding]:
    """The ledger answers, apart from what it is to survive, is migrated, and nobody has changed what it says."""
    settings = cast(Settings, site.get_service("privacy"))
    address = site.ledger_address()
    url = make_url(address)
    server = f"{url.host}:{url.port or 5432}"
    reason = await site.why_unreachable(LEDGER)
    if reason is not None:
        return [failed(reason, server=server, database=url.database or "")]
    others = [make_url(one.database_url.get_secret_value()) for one in site.services.values()]
    if any((url.host, url.port, url.database) == (other.host, other.port, other.database) for other in others):
        return [failed("not_apart", database=url.database or "")]
    newer = (await revisions(LEDGER, site.owners[LEDGER]))[1] if LEDGER in site.owners else set()
    different = await ledger_differences(site.owners.get(LEDGER, address))
    if different and not newer:
        return [failed("behind", count=len(different))]
    try:
        async with open_ledger(settings.ledger_key.get_secret_value(), address) as ledger:
            entries = await ledger.verify()
            return [warning("beyond", revisions=sorted(newer))] if newer else [ok(count=entries)]
    except ChainBroken as error:
        return [failed("broken", position=error.position)]


@of_suite("backup")
async def check_backup(site: Site) -> list[Finding]:
    """The last backup that came to a good end is not older than two days."""
    return _judged(await last_run(site, "backup"), BACKUP_AT_LEAST_EVERY)


@of_suite("drill")
async def check_drill(site: Site) -> list[Finding]:
    """A restore was tried, and came to a good end, within the last quarter."""
    return _judged(await last_run(site, "drill"), DRILL_AT_LEAST_EVERY)


async def last_run(site: Site, kind: str) -> datetime | None:
    """Return when the last run of a kind came to a good end; None where none was written down, or nobody could have.

    Raises NotChecked when the ledger's database does not answer.
    """
    async with site.session(LEDGER) as session:
        if await session.scalar(select(func.to_regclass(runs.name))) is None:
            return None
        return await session.scalar(select(runs.c.finished_at).where(runs.c.kind == kind))


def _judged(last: datetime | None, at_least_every: timedelta) -> list[Finding]:
    if last is None:
        return [warning("unknown")]
    age = utc_now() - last
    if age > at_least_every:
        return [warning("old", days=age.days, at_most=at_least_every.days)]
    return [ok(days=max(age.days, 0))]
