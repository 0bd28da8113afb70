"""What a scenario stands on: seven services as API and worker processes, a RabbitMQ node and a PostgreSQL of its own."""

import asyncio
import itertools
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from shared.events import SERVICES
from tests.faults.invariants import Invariants
from tests.faults.load import Load
from tests.support.postbox import Postbox
from tests.support.rabbitmq import Node
from tests.support.spaces import Space, open_space
from tests.support.suites import Processes

MEMBERS = 6
ROOMS = 4
TICKETS = 18
# One write in twenty is undone inside its transaction, after its events were written.
ROLLBACKS = "publish.before_commit%5"
WRITERS = ("feed", "helpdesk", "booking")


class Ground:
    """`await start()`, `await under_load(...)`, `await stop()`; several scenarios may use one ground in turn."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cowork-faults-"))
        self.folder.chmod(0o755)
        self.postbox = Postbox()
        self.node: Node
        self.suite: Processes
        self.space: Space
        self.cast: list[Any] = []
        self.rooms: list[Any] = []
        self.tickets: list[str] = []
        # No slot is asked for twice, whichever scenario asks.
        self._slots = itertools.count()

    async def start(self) -> None:
        self.postbox.start()
        await asyncio.to_thread(self.start_broker)
        self.suite = await self.make_suite()
        for service in WRITERS:
            self.suite.by_role[service, "api"] = {"COWORK_CRASH": ROLLBACKS}
        await self.suite.start()
        self.space = await open_space(self.suite)
        await self._make_cast()
        await self._let_repeated_effects_show()

    async def stop(self) -> None:
        await self.suite.stop()
        await asyncio.to_thread(self.stop_broker)
        self.postbox.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_broker(self) -> None:
        self.node = Node()
        self.node.start()

    def stop_broker(self) -> None:
        self.node.close()

    async def make_suite(self) -> Processes:
        """Return the services, not yet started; the node answers already. A ground of a scenario's own overrides it."""
        return Processes(self.folder, self.postbox, self.node.url(), roles=("api", "worker"), durable=True, warm=True)

    def load(self) -> Load:
        return Load(self.space, self.cast, self.rooms, self.tickets, self._slots)

    async def invariants(self) -> Invariants:
        """Return what is checked of everything that is published from now on."""
        return await Invariants.from_now(self.suite)

    async def outboxes_are_empty(self) -> bool:
        for service in SERVICES:
            if (await self.suite.query(service, "SELECT count(*) AS n FROM outbox"))[0]["n"]:
                return False
        return True

    async def is_settled(self) -> bool:
        """Whether nothing waits in a queue (ready or unacknowledged) and no parked event is still to be tried."""
        for service in SERVICES:
            waiting = "SELECT count(*) AS n FROM inbox_parked WHERE state <> 'dead'"
            if (await self.suite.query(service, waiting))[0]["n"]:
                return False
        queues = await asyncio.to_thread(self.node.queues)
        return not any(queue["messages"] for queue in queues.values())

    async def silent(self) -> set[str]:
        """Return the services whose worker does not say that its consumer is registered."""
        found = set()
        for service in SERVICES:
            if f'cowork_consumer_registered{{service="{service}"}} 1.0' not in await self._metrics(service):
                found.add(service)
        return found

    async def _metrics(self, service: str) -> str:
        """Return what a worker says of itself: nothing when it has ended."""
        try:
            async with self.suite.http.get(f"{self.suite.internal_url(service, 'worker')}/metrics") as answer:
                return await answer.text()
        except aiohttp.ClientConnectionError:
            return ""

    async def _make_cast(self) -> None:
        """Members who want no mail, rooms that cost something, and tickets assigned to the admin."""
        self.cast = list(await asyncio.gather(*(self.space.join(f"Member{n}") for n in range(MEMBERS))))
        client, alma = self.space.client, self.space.alma
        for member in [alma, *self.cast]:
            for kind in await client.call("GET", "/notify/v1/preferences", by=member):
                if kind["channel"] == "email" and not kind["is_mandatory"]:
                    url = f"/notify/v1/preferences/{kind['kind']}/email"
                    await client.call("PUT", url, {"mode": "off"}, by=member)
        place = {"name": "Valmy", "time_zone": "Europe/Paris"}
        location = await client.call("POST", "/booking/v1/locations", place, by=alma)
        for number in range(ROOMS):
            room = {"location_id": location["id"], "name": f"Loft {number}", "kind": "room", "hourly_price_minor": 3000}
            self.rooms.append(await client.call("POST", "/booking/v1/resources", room, by=alma))
        for number in range(TICKETS):
            await self._open_assigned_ticket(self.cast[number % MEMBERS])

    async def _open_assigned_ticket(self, member: Any) -> None:
        body = {"subject": f"Lamp {secrets.token_hex(3)}", "body": "It flickers.", "category": "other"}
        ticket = await self._until_not_undone("POST", "/helpdesk/v1/tickets", body, by=member)
        url, alma = f"/helpdesk/v1/tickets/{ticket['id']}/assignment", self.space.alma
        await self._until_not_undone("PUT", url, {"assignee_id": alma.account_id}, by=alma, etag="*")
        self.tickets.append(ticket["id"])

    async def _until_not_undone(self, method: str, path: str, body: Any, **more: Any) -> Any:
        while True:
            try:
                return await self.space.client.call(method, path, body, **more)
            except Exception as error:
                if "rolled_back_on_purpose" not in str(error):
                    raise

    async def _let_repeated_effects_show(self) -> None:
        """Drop the constraint that would hide an effect applied twice: the inbox alone must prevent it."""
        await self.suite.query("notify", "ALTER TABLE notices DROP CONSTRAINT uq_notices_event_id_kind_account_id")
