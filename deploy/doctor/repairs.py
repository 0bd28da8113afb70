"""What `--fix` may do: only what is safe, and what a second time changes nothing."""

import os
import stat
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from deploy.doctor.findings import Finding, Level, SaidRepair
from deploy.doctor.secrets import exposed
from deploy.doctor.site import LEDGER, Site
from deploy.doctor.words import Language, words
from deploy.embedded.secrets import MODE
from deploy.suite import subscriptions
from deploy.topology import declare
from services.privacy.ledger.database import upgrade_ledger
from shared.bus.amqp import BROKER_ERRORS
from shared.bus.topology import TopologyMismatch
from shared.db import LOST
from shared.events import SERVICES
from shared.migrate import upgrade

# By check, the codes that a repair mends.
DECLARABLE = {
    "topology": {"queue_missing", "exchange_missing", "binding_missing", "bindings_unread"},
    "unroutable": {"unbound"},
}
MIGRATABLE = {"migrations": {"behind", "different"}, "row_security": {"off", "other_policy"}}


@dataclass(frozen=True, slots=True)
class Repair:
    """What was tried, and whether it was done."""

    name: str
    about: str
    is_done: bool

    def said(self, language: Language) -> SaidRepair:
        told = words(language)["repairs"][self.name]
        text = told["done" if self.is_done else "not_done"].format(about=self.about)
        return SaidRepair(repair=self.name, about=self.about, is_done=self.is_done, said=text)


async def repair(site: Site, findings: Collection[Finding]) -> list[Repair]:
    """Mend what the findings name and may be mended; return what was tried. Never raises for what cannot be mended."""
    done = _close_files(site, findings)
    done += [one async for one in _migrate(site, findings)]
    done += [one async for one in _migrate_ledger(site, findings)]
    done += [one async for one in _declare(site, findings)]
    return done


def _close_files(site: Site, findings: Collection[Finding]) -> list[Repair]:
    """Take from others what they may do with secret files; the owner's and the group's rights are theirs to keep."""
    if not any(one.check == "secret_files" and one.level is Level.FAILED for one in findings):
        return []
    repairs = []
    for path in exposed(site):
        mode = stat.S_IMODE(path.stat().st_mode)
        try:
            os.chmod(path, mode & MODE if site.is_embedded else mode & ~stat.S_IRWXO)
        except OSError:
            repairs.append(Repair("chmod", str(path), is_done=False))
            continue
        repairs.append(Repair("chmod", str(path), is_done=True))
    return repairs


async def _migrate(site: Site, findings: Collection[Finding]) -> AsyncIterator[Repair]:
    """Migrate where the owner's address is known; a migration also renews row security and grants."""
    behind = {service for one in findings if one.code in MIGRATABLE.get(one.check, ()) for service in one.about}
    for service in (name for name in SERVICES if name in behind):
        owner = site.owners.get(service)
        if owner is None:
            yield Repair("migrate", service, is_done=False)
            continue
        try:
            is_ours = await upgrade(service, owner)
        except (*LOST, DBAPIError):
            yield Repair("migrate", service, is_done=False)
            continue
        yield Repair("migrate", service, is_done=is_ours)


async def _migrate_ledger(site: Site, findings: Collection[Finding]) -> AsyncIterator[Repair]:
    if not any((one.check, one.code) == (LEDGER, "behind") for one in findings):
        return
    try:
        is_ours = await upgrade_ledger(site.owners[LEDGER])
    except (KeyError, *LOST, DBAPIError):
        yield Repair("migrate", LEDGER, is_done=False)
        return
    yield Repair("migrate", LEDGER, is_done=is_ours)


async def _declare(site: Site, findings: Collection[Finding]) -> AsyncIterator[Repair]:
    """Declare what is missing, service by service: a queue with other arguments is left as it is, for it may hold events."""
    wanted = [one for one in findings if one.code in DECLARABLE.get(one.check, ())]
    url = site.suite.amqp_url if site.suite else None
    if not wanted or url is None or site.suite is None:
        return
    for service, types in subscriptions().items():
        try:
            await declare(url.get_secret_value(), namespace=site.suite.namespace, subscriptions={service: types})
        except (TopologyMismatch, *BROKER_ERRORS):
            yield Repair("topology", service, is_done=False)
            continue
        yield Repair("topology", service, is_done=True)
