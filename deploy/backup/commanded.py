"""Erasures under way where a restore is about to wipe: the ledger names whoever's erasure is complete, and nobody else yet.

They are written into the ledger before anything is lost. From then on nothing tells them from the others: an interrupted
restore finds them there again, the replay erases them, a dump takes them along, and age prunes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from deploy.backup.ledger import append_all, ledger_of
from deploy.backup.places import LEDGER, Place, connected
from services.privacy.ledger import COMMANDED, Entry
from shared.db import utc_now
from shared.events import SERVICES
from shared.events.identity import ContentChoice

_ERASURES = (
    "SELECT case_id, tenant_id, CASE WHEN is_tenant THEN tenant_id ELSE account_id END AS subject_id, content"
    " FROM erasures WHERE is_tenant OR account_id IS NOT NULL"
)
# (service, table, who is commanded there), those first who know best what the person chose. A command that nobody has
# heard yet is identity's alone; one that has lost its way is privacy's.
_COMMANDS = (
    (
        "identity",
        "deactivations",
        "SELECT case_id, tenant_id, account_id AS subject_id, content FROM deactivations WHERE commanded_at IS NOT NULL",
    ),
    ("privacy", "erasures", _ERASURES),
    *((name, "erasures", _ERASURES) for name in SERVICES if name != "privacy"),
    (
        "identity",
        "tenant_settings",
        "SELECT case_id, tenant_id, tenant_id AS subject_id, 'remove' AS content FROM tenant_settings"
        " WHERE case_id IS NOT NULL",
    ),
    (
        "privacy",
        "cases",
        "SELECT id AS case_id, tenant_id, CASE WHEN is_tenant THEN tenant_id ELSE account_id END AS subject_id,"
        " 'remove' AS content FROM cases WHERE completed_at IS NULL AND (is_tenant OR account_id IS NOT NULL)",
    ),
)
_COMPLETED = "SELECT id FROM cases WHERE completed_at IS NOT NULL"
_HELD = "SELECT tenant_id, account_id FROM holds"


class ErasuresHeld(RuntimeError):
    """A legal hold keeps somebody whose erasure is commanded: the restore would lose either the hold or the erasure."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """Somebody whose erasure is past the point of no return and not complete; a whole tenant is its own subject.

    `is_held`: a legal hold keeps the account, or one of the tenant's accounts.
    """

    tenant_id: UUID
    subject_id: UUID
    content: ContentChoice
    is_held: bool


async def find_commanded(place: Place) -> list[Commanded]:
    """Return everybody whom the databases, as they are now, are to erase, and whom the ledger does not name."""
    completed = {row["id"] for row in await _rows(place, "privacy", "cases", _COMPLETED)}
    found: dict[tuple[UUID, UUID], Any] = {}
    for service, table, query in _COMMANDS:
        for row in await _rows(place, service, table, query):
            if row["case_id"] not in completed:
                found.setdefault((row["tenant_id"], row["subject_id"]), row)
    held = {tuple(row) for name in SERVICES for row in await _rows(place, name, "holds", _HELD)}
    return [_commanded(row, held) for row in await _unnamed(place, found)]


def refuse_held(commanded: Iterable[Commanded]) -> None:
    """Raises ErasuresHeld."""
    if count := sum(one.is_held for one in commanded):
        raise ErasuresHeld(
            f"{count} erasures wait for a legal hold, which the backup may not know: lift the holds and let the erasures"
            " complete first, or have the restore carry them out with --lift-holds"
        )


async def write_down(place: Place, commanded: Sequence[Commanded]) -> int:
    """Write everybody into the ledger, who must not come back from now on; return how many it did not name yet."""
    ledger, now = ledger_of(place), utc_now()
    digests = [(ledger.digest(one.tenant_id, one.subject_id), one.content) for one in commanded]
    return await append_all(place, [Entry(digest, COMMANDED, content, now) for digest, content in digests])


def _commanded(row: Mapping[str, Any], held: set[tuple[UUID, ...]]) -> Commanded:
    tenant_id, subject_id = row["tenant_id"], row["subject_id"]
    is_held = (tenant_id, subject_id) in held
    if subject_id == tenant_id:
        is_held = any(of == tenant_id for of, _ in held)
    return Commanded(tenant_id, subject_id, ContentChoice(row["content"]), is_held)


async def _unnamed(place: Place, found: Mapping[tuple[UUID, UUID], Any]) -> list[Any]:
    """Leave out whom the live ledger names: the case only waits for its last step."""
    async with connected(place.owners[LEDGER]) as owner:
        if not found or await owner.fetchval("SELECT to_regclass('public.entries') IS NULL"):
            return list(found.values())
    ledger = ledger_of(place)
    try:
        named = await ledger.contents()
    finally:
        await ledger.close()
    return [row for subject, row in found.items() if ledger.digest(*subject) not in named]


async def _rows(place: Place, service: str, table: str, query: str) -> list[Any]:
    """Return a query's rows over all tenants (the owner's view); none where the database is empty."""
    async with connected(place.owners[service]) as owner:
        if await owner.fetchval("SELECT to_regclass($1) IS NULL", f"public.{table}"):
            return []
        return list(await owner.fetch(query))
