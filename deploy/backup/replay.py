"""Replaying the ledger on restored databases: whoever was erased after the backup is erased again, before any traffic.

Each service's own subject ids are hashed with the ledger's key; a match is erased by the usual planner, in every service,
tombstone first. The case is a new one of privacy's (or the one that was open at the backup), so that receipts, verification
and certificate follow as always once the services run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from deploy.backup.files import files_of
from deploy.backup.kept import KeptService
from services.privacy.actions.cases import open_case
from services.privacy.ledger import Ledger
from shared.db import fetch, tenant_of, utc_now
from shared.events.identity import ContentChoice
from shared.privacy.cases import KEPT_UNTIL_COMPLETION
from shared.privacy.retention import tenant_ids
from shared.privacy.tombstones import is_erased

# What the bus and the erasure engine know of people, beside the tables of the marks.
_OWN = (
    "SELECT unnest(subject_ids) FROM event_log WHERE tenant_id = current_setting('cowork.tenant')::uuid",
    "SELECT unnest(subject_ids) FROM inbox_parked WHERE tenant_id = current_setting('cowork.tenant')::uuid",
    "SELECT account_id FROM erasures WHERE tenant_id = current_setting('cowork.tenant')::uuid",
    "SELECT account_id FROM holds WHERE tenant_id = current_setting('cowork.tenant')::uuid",
)
_LOGGED = (
    "SELECT unnest(subject_ids) FROM event_log WHERE tenant_id = current_setting('cowork.tenant')::uuid"
    # What waits for its confirm is redacted with it.
    " AND type <> ALL($1::text[]) AND redact_on_relay = 0"
)
_OPEN_CASE = "SELECT id FROM cases WHERE completed_at IS NULL AND (account_id = $1 OR ($1 = tenant_id AND is_tenant))"
_KNOWN_CASE = (
    "SELECT case_id FROM erasures WHERE tenant_id = $1 AND (account_id = $2 OR ($1 = $2 AND is_tenant))"
    " ORDER BY started_at DESC"
)
_IS_COMPLETED = "SELECT FROM cases WHERE is_tenant AND completed_at IS NOT NULL"
# The ledger says that the erasure was completed, or carried out all the same: a hold of the time before is lifted.
_LIFT_HOLDS = "DELETE FROM holds WHERE tenant_id = $1 AND (account_id = $2 OR $1 = $2)"
_END_TENANT = "UPDATE tenant_settings SET case_id = $2, deactivated_at = now() WHERE tenant_id = $1 AND case_id IS NULL"


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody of the ledger that the restored databases name; a whole tenant is its own subject."""

    tenant_id: UUID
    subject_id: UUID
    content: ContentChoice

    @property
    def is_tenant(self) -> bool:
        return self.tenant_id == self.subject_id


async def replay_ledger(services: Mapping[str, KeptService], ledger: Ledger, files_url: str) -> list[Subject]:
    """Erase everybody of the ledger whom the restored databases name; return who that was."""
    contents = await ledger.contents()
    if not contents:
        return []
    tenants = await _all_tenants(services)
    subjects = await _find_subjects(services, ledger, contents, tenants)
    # A tenant takes its accounts along: first, so that none of them is erased one by one.
    for subject in sorted(subjects, key=lambda one: not one.is_tenant):
        await _erase(services, subject)
    for service in services.values():
        await _finish(service, files_url)
    return subjects


async def _all_tenants(services: Mapping[str, KeptService]) -> list[UUID]:
    """One service may not have heard of a tenant yet when the backup was made."""
    known = {tenant for service in services.values() for tenant in await tenant_ids(service.database)}
    return sorted(known)


async def _find_subjects(
    services: Mapping[str, KeptService], ledger: Ledger, contents: Mapping[bytes, str], tenants: Iterable[UUID]
) -> list[Subject]:
    found: list[Subject] = []
    for tenant_id in tenants:
        if (chosen := contents.get(ledger.digest(tenant_id, tenant_id))) is not None:
            async with services["privacy"].database.transaction(tenant_id) as session:
                is_done = bool(await fetch(session, _IS_COMPLETED))
            found += [] if is_done else [Subject(tenant_id, tenant_id, ContentChoice(chosen))]
            continue
        named = {one for service in services.values() for one in await _named(service, tenant_id)}
        for account_id in named:
            if (chosen := contents.get(ledger.digest(tenant_id, account_id))) is not None:
                found.append(Subject(tenant_id, account_id, ContentChoice(chosen)))
    return found


async def _named(service: KeptService, tenant_id: UUID) -> list[UUID]:
    """Return every account id that a service holds of a tenant, wherever it is."""
    statements = " UNION ".join((*service.eraser.plan.accounts, *_OWN))
    async with service.database.transaction(tenant_id) as session:
        rows = await fetch(session, f"SELECT id FROM ({statements}) AS named (id) WHERE id IS NOT NULL")
    return [row["id"] for row in rows]


async def _erase(services: Mapping[str, KeptService], subject: Subject) -> None:
    case_id = await _case_of(services, subject)
    async with services["privacy"].database.transaction(subject.tenant_id) as session:
        account_id = None if subject.is_tenant else subject.subject_id
        await open_case(session, case_id, account_id=account_id, reason="restore", commanded_at=utc_now())
    for name, service in services.items():
        async with service.database.transaction(subject.tenant_id) as session:
            await fetch(session, _LIFT_HOLDS, subject.tenant_id, subject.subject_id)
            if not subject.is_tenant:
                await service.eraser.erase_account(
                    session, account_id=subject.subject_id, case_id=case_id, content=subject.content, again=True
                )
                continue
            await service.eraser.start_tenant(session, case_id=case_id, again=True)
            if name == "identity":
                await fetch(session, _END_TENANT, subject.tenant_id, case_id)


async def _case_of(services: Mapping[str, KeptService], subject: Subject) -> UUID:
    """Return the case that was open at the backup, privacy's or one that has reached some service only; else a new one."""
    async with services["privacy"].database.transaction(subject.tenant_id) as session:
        for row in await fetch(session, _OPEN_CASE, subject.subject_id):
            return UUID(str(row["id"]))
    for service in services.values():
        async with service.database.transaction(subject.tenant_id) as session:
            for row in await fetch(session, _KNOWN_CASE, subject.tenant_id, subject.subject_id):
                return UUID(str(row["case_id"]))
    return uuid4()


async def _finish(service: KeptService, files_url: str) -> None:
    """Work off the tenants' batches and the files: a tenant's case is closed when its files are gone."""
    files = files_of(files_url, service.name)
    while True:
        has_worked = await service.eraser.erase_batch(service.database)
        if not await service.eraser.delete_files(service.database, files) and not has_worked:
            return


async def leftovers(services: Mapping[str, KeptService], ledger: Ledger, subjects: Sequence[Subject]) -> list[str]:
    """Look again, after the replay; return in words where anybody of the ledger is still named (empty: nowhere)."""
    contents, found = await ledger.contents(), []
    for tenant_id in await _all_tenants(services) if contents else []:
        mine = [one for one in subjects if one.tenant_id == tenant_id]
        for name, service in services.items():
            async with service.database.transaction(tenant_id) as session:
                found += [f"{name}: {what}" for what in await _left_in(session, service, ledger, contents)]
                found += [f"{name}: {what}" for what in await _unproven(session, service, mine)]
    return sorted(set(found))


async def _left_in(
    session: AsyncSession, service: KeptService, ledger: Ledger, contents: Mapping[bytes, str]
) -> list[str]:
    """Where a service still names somebody of the ledger. A case keeps its account until it is completed."""
    tenant_id, left = tenant_of(session), []
    references = [(table, statement, ()) for table, statement in service.references]
    for table, statement, values in [*references, ("event_log", _LOGGED, (sorted(KEPT_UNTIL_COMPLETION),))]:
        # Each once: a table names the same few people in a million rows.
        named = await fetch(
            session, f"SELECT DISTINCT id FROM ({statement}) AS named (id) WHERE id IS NOT NULL", *values
        )
        left += [table] if any(ledger.digest(tenant_id, row["id"]) in contents for row in named) else []
    return left


async def _unproven(session: AsyncSession, service: KeptService, subjects: Sequence[Subject]) -> list[str]:
    """Run the rules' own post-conditions for those who were replayed, and look for their tombstones."""
    plan, left = service.eraser.plan, []
    if accounts := [one.subject_id for one in subjects if not one.is_tenant]:
        left += [rule.rule for rule in await plan.remaining(session, accounts)]
    for one in subjects:
        if one.is_tenant:
            left += [rule.rule for rule in await plan.tenant_remaining(session)]
        if not await is_erased(session, one.tenant_id, one.subject_id):
            left.append("tombstones")
    return left
