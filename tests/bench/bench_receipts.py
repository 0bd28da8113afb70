"""One account on the running suite: from the commit that deactivates it to the receipts of all seven services.

Each account has signed in, reserved, posted and opened a ticket over HTTP. Its deactivation is identity's own, asked for
and commanded in one transaction of this process (the last mail that comes before would only be waited for); the
clock stops when privacy's table of answers has the last one, looked at every two milliseconds.
"""

import asyncio
import statistics
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from deploy.demo.client import Client, Member
from services.identity.actions.deactivations import command_due, deactivate
from shared.bus.wake import Notifier
from shared.db import Database, utc_now
from shared.events import SERVICES
from shared.events.identity import ContentChoice, DeactivationReason
from tests.bench.figures import Figure, Rounds, Sample, at_most, bench
from tests.bench.stand import Stand
from tests.support.suites import Processes

ACCOUNTS = 40
PASSWORD = "Violet-Rhubarb-42!"
LOOK_SECONDS = 0.002
# Members like the administrator, who has registered the ordinary way: one password for all of them.
JOIN = (
    "INSERT INTO accounts (id, tenant_id, email, password_hash, password_changed_at, state, roles, language, created_at, version)"
    " SELECT gen_random_uuid(), tenant_id, 'member' || n || '@example.org', password_hash, now(), 'active', '{member}', 'en', now(), 1"
    " FROM accounts, generate_series(1, $2::int) n WHERE id = $1 RETURNING email"
)


class Space:
    """A tenant of the suite with members who have left traces in several services."""

    def __init__(self, suite: Processes) -> None:
        self.suite = suite
        self.slug = f"bench-{uuid4().hex[:8]}"
        self.client: Client = suite.client(self.slug)
        self.tenant_id: UUID
        self.admin: Member

    @classmethod
    async def open(cls, suite: Processes) -> "Space":
        space = cls(suite)
        email = f"alma@{space.slug}.example.org"
        body = {"slug": space.slug, "name": "Bench", "admin": {"email": email, "password": PASSWORD}}
        headers = {"Operator-Secret": suite.secrets.operator_secret}
        opened = await space.client.call("POST", "/identity/v1/tenants", body, headers=headers)
        space.tenant_id = UUID(opened["tenant_id"])
        space.admin = await space.client.sign_in(email, PASSWORD)
        for service in SERVICES:
            while not await suite.query(service, "SELECT 1 FROM tenants WHERE tenant_id = $1", space.tenant_id):
                await asyncio.sleep(0.05)
        return space

    async def members(self, count: int) -> list[Member]:
        """Return members with a reservation, a post and a ticket each."""
        rows = await self.suite.query("identity", JOIN, UUID(self.admin.account_id), count)
        members = [await self.client.sign_in(row["email"], PASSWORD) for row in rows]
        room = await self._room()
        first = (utc_now() + timedelta(days=7)).replace(hour=10, minute=0, second=0, microsecond=0)
        for number, member in enumerate(members):
            await self._leave_traces(member, room, first + timedelta(days=number))
        return members

    async def _room(self) -> str:
        place = {"name": "Valmy", "time_zone": "Europe/Paris"}
        location = await self.client.call("POST", "/booking/v1/locations", place, by=self.admin)
        room = {"location_id": location["id"], "name": "Loft", "kind": "room", "hourly_price_minor": 3000}
        made = await self.client.call("POST", "/booking/v1/resources", room, by=self.admin)
        return str(made["id"])

    async def _leave_traces(self, member: Member, room: str, starts_at: datetime) -> None:
        ends_at = starts_at + timedelta(hours=1)
        slot = {"resource_id": room, "starts_at": starts_at.isoformat(), "ends_at": ends_at.isoformat()}
        await self.client.call("POST", "/booking/v1/reservations", slot, by=member)
        await self.client.call("POST", "/feed/v1/posts", {"body": "Hello"}, by=member)
        ticket = {"subject": "Badge", "body": "It does not open."}
        await self.client.call("POST", "/helpdesk/v1/tickets", ticket, by=member)


class Deactivations:
    """Identity's transaction and privacy's answers."""

    def __init__(self, suite: Processes, answers: asyncpg.Connection) -> None:
        self._database = Database(suite.app_url("identity"))
        self._database.wake_elsewhere = Notifier(self._database).wake
        self._answers = answers

    async def measure(self, tenant_id: UUID, account_id: UUID) -> dict[str, float]:
        """Deactivate an account; return per service after how many milliseconds its receipt was there."""
        case_id = await self._deactivate(tenant_id, account_id)
        committed, found = time.perf_counter(), dict[str, float]()
        while len(found) < len(SERVICES):
            await asyncio.sleep(LOOK_SECONDS)
            rows = await self._answers.fetch(
                "SELECT service FROM answers WHERE case_id = $1 AND outcome IS NOT NULL", case_id
            )
            for row in rows:
                found.setdefault(row["service"], (time.perf_counter() - committed) * 1000)
        return found

    async def _deactivate(self, tenant_id: UUID, account_id: UUID) -> UUID:
        now = utc_now()
        async with self._database.transaction(tenant_id) as session:
            deactivation = await deactivate(
                session,
                account_id,
                reason=DeactivationReason.OWN_REQUEST,
                content=ContentChoice.REMOVE,
                requested_by=account_id,
                settle=timedelta(0),
                now=now,
            )
            assert await command_due(session, now=now) == 1
            return deactivation.case_id

    async def close(self) -> None:
        await self._database.close()
        await self._answers.close()


async def quiet(suite: Processes) -> None:
    """Wait until no event waits for a relay."""
    while any([(await suite.query(s, "SELECT EXISTS (SELECT FROM outbox) AS waits"))[0]["waits"] for s in SERVICES]):
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)


@bench("receipts")
async def receipts(stand: Stand) -> list[Figure]:
    suite = await stand.suite()
    space = await Space.open(suite)
    members = await space.members(stand.many(ACCOUNTS, least=3))
    deactivations = Deactivations(suite, await suite.superuser("privacy"))
    await quiet(suite)
    found = []
    for member in members:
        found.append(await deactivations.measure(space.tenant_id, UUID(member.account_id)))
        await asyncio.sleep(0.1)
    await deactivations.close()
    return [_figure(found[1:])]


def _figure(found: list[dict[str, float]]) -> Figure:
    # The first of all is a warm-up: seven workers plan their erasure statements for the first time.
    waited = [max(one.values()) for one in found]
    rounds = Rounds()
    rounds.samples = [Sample(len(waited), sum(waited) / 1000, tuple(waited))]
    p50 = rounds.percentile_ms(50)
    assert p50 is not None
    return Figure(
        "receipts of one account",
        value=p50,
        unit="ms",
        goals=(at_most("p50_ms", 100), at_most("p99_ms", 1000)),
        p50_ms=p50,
        p99_ms=rounds.percentile_ms(99),
        record="0026",
        notes={f"{service}_p50_ms": _median(one[service] for one in found) for service in SERVICES},
    )


def _median(values: Iterable[Any]) -> float:
    return float(statistics.median(values))
