"""One suite per transport for all journeys of a run, a space with its people, and the places where a value may hide."""

import asyncio
import base64
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import aio_pika
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import AsyncMessage

from tests.support import suites

PASSWORD = "Violet-Rhubarb-42!"


class Postbox(AsyncMessage):
    """A mail server that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []
        self.port = 0

    async def handle_message(self, message: Any) -> None:
        self.mails.append(message)


@pytest.fixture(scope="session")
def postbox() -> Any:
    postbox = Postbox()
    postbox.port = suites.free_port()
    controller = Controller(postbox, hostname="127.0.0.1", port=postbox.port, ready_timeout=10)
    controller.start()
    yield postbox
    controller.stop()


@pytest.fixture(scope="session", params=["local", "rabbitmq"])
async def suite(request: Any, postbox: Any, amqp_url: str) -> AsyncIterator[Any]:
    folder = Path(tempfile.mkdtemp(prefix=f"cowork-journeys-{request.param}-"))
    folder.chmod(0o755)
    running = (
        suites.Embedded(folder, postbox.port)
        if request.param == "local"
        else suites.Processes(folder, postbox.port, amqp_url)
    )
    await running.start()
    yield running
    await running.stop()


@dataclass
class Space:
    """A tenant with its admin Alma; `join` makes members."""

    suite: Any
    client: Any
    slug: str
    tenant_id: UUID
    alma: Any

    async def join(self, name: str, *, email: str | None = None, **profile: Any) -> Any:
        """Invite, accept, sign in, fill the profile; return the member."""
        email = email or f"{name.lower()}-{uuid4().hex[:8]}@example.org"
        body = {"email": email, "roles": ["member"], "language": "en"}
        await self.client.call("POST", "/identity/v1/invitations", body, by=self.alma)
        accepted = {"token": await self.client.mailed_token(email), "password": PASSWORD}
        await self.client.call("POST", f"/identity/v1/tenants/{self.slug}/invitation-acceptances", accepted)
        member = await self.client.sign_in(email, PASSWORD)
        whole = {"first_name": name, "last_name": "Member", "language": "en", **profile}
        await self.client.call("PUT", "/identity/v1/profile", whole, by=member, etag="*")
        return member

    async def deactivate(self, member: Any, content: str = "remove") -> str:
        url = f"/identity/v1/accounts/{member.account_id}/deactivation"
        answer = await self.client.call("PUT", url, {"content": content}, by=member)
        return str(answer["case_id"])

    async def case(self, case_id: str) -> Any:
        """The public status of a case, or None before it is open."""
        async with self.suite.http.get(self.client.url(f"/privacy/v1/cases/{case_id}")) as answer:
            return await answer.json() if answer.status == 200 else None

    async def completed(self, case_id: str, *, seconds: float = 60) -> Any:
        """Wait until every service has answered and was verified; return the certificate."""
        for _ in range(int(seconds * 10)):
            case = await self.case(case_id)
            if case and case["completed_at"]:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError(f"not completed: {case}")
        async with self.suite.http.get(self.client.url(f"/privacy/v1/cases/{case_id}/certificate")) as answer:
            assert answer.status == 200
            return await answer.json()

    async def quiet(self) -> None:
        """Wait until no event is on its way."""
        for _ in range(300):
            waiting = 0
            for service in suites.SERVICES:
                counted = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM inbox_waiting) AS n"
                waiting += (await self.suite.query(service, counted))[0]["n"]
            if not waiting:
                await asyncio.sleep(0.3)
                return
            await asyncio.sleep(0.1)
        raise AssertionError("events are still on their way")


@pytest.fixture
async def space(suite: Any) -> Space:
    return await open_space(suite)


async def open_space(suite: Any) -> Space:
    slug = f"space-{uuid4().hex[:8]}"
    client, email = suite.client(slug), f"alma-{uuid4().hex[:6]}@example.org"
    body = {"slug": slug, "name": "Canal", "admin": {"email": email, "password": PASSWORD}}
    headers = {"Operator-Secret": suite.secrets.operator_secret}
    opened = await client.call("POST", "/identity/v1/tenants", body, headers=headers)
    space = Space(suite, client, slug, UUID(opened["tenant_id"]), await client.sign_in(email, PASSWORD))
    seller = {"legal_name": "Canal SAS", "street": "1 quai", "postcode": "75010", "city": "Paris"}
    await _once_known(space, lambda: client.call("PUT", "/billing/v1/seller", seller, by=space.alma, etag="*"))
    return space


async def _once_known(space: Space, work: Any) -> None:
    """A new tenant is known to every service once its event has arrived."""
    for service in suites.SERVICES:
        for _ in range(200):
            if await space.suite.query(service, "SELECT 1 FROM tenants WHERE tenant_id = $1", space.tenant_id):
                break
            await asyncio.sleep(0.05)
    await work()


@pytest.fixture
def open_another(suite: Any) -> Any:
    return lambda: open_space(suite)


def forms_of(value: str) -> dict[str, str]:
    """The ways in which a value may still be readable."""
    raw = value.encode()
    return {
        "raw": value,
        "lower": value.lower(),
        "url": quote(value),
        "base64": base64.b64encode(raw).decode().rstrip("="),
        "hex": raw.hex(),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "md5": hashlib.md5(raw).hexdigest(),
        "sha1": hashlib.sha1(raw).hexdigest(),
    }


async def places_of(suite: Any, values: Iterable[str]) -> dict[str, set[str]]:
    """Return where each value is found, in any form: `service.table`, statistics, files, logs, queues."""
    haystacks: dict[str, str] = {"logs": suite.logs(), "files": suite.stored_files().decode("latin-1")}
    for service in suites.SERVICES:
        connection = await suite.superuser(service)
        await connection.execute("ANALYZE")
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for table in tables:
            rows = await connection.fetch(f"SELECT t::text AS row FROM {table['relname']} t")
            haystacks[f"{service}.{table['relname']}"] = "\n".join(row["row"] for row in rows)
        statistics = (
            "SELECT attname, most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname = 'public'"
        )
        haystacks[f"{service}.pg_stats"] = str([tuple(row) for row in await connection.fetch(statistics)])
        await connection.close()
    if isinstance(suite, suites.Processes):
        haystacks["queues"] = await _queued(suite)
    return {
        value: {place for place, text in haystacks.items() if any(form in text for form in forms_of(value).values())}
        for value in values
    }


async def _queued(suite: Any) -> str:
    """What lies in the broker's queues, read and given back."""
    found = []
    connection = await aio_pika.connect(suite._amqp_url)
    async with connection:
        for service in suites.SERVICES:
            for kind in ("dead",):
                channel = await connection.channel()
                queue = await channel.get_queue(f"{suite._namespace}.{service}.{kind}")
                while (message := await queue.get(fail=False, no_ack=False)) is not None:
                    found.append(message.body.decode("latin-1"))
                await channel.close()
            channel = await connection.channel()
            state = await channel.declare_queue(f"{suite._namespace}.{service}.in", passive=True)
            found.append("waiting" * (state.declaration_result.message_count or 0))
            await channel.close()
    return "".join(found)


@pytest.fixture
def places(suite: Any) -> Any:
    return lambda values: places_of(suite, values)
