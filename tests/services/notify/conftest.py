"""Ada and Ben are members, Maud runs the space; and a mail server that answers as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP

from services.notify.app import create_service
from services.notify.sending import Sender
from services.notify.settings import Settings
from shared.db import uuid7
from shared.events.feed import MemberMentioned, PostPublished
from shared.events.identity import AccountRegistered, Language, Role
from shared.events.privacy import ConsentChanged, ConsentPurpose
from tests.support.testing import Person, ServiceUnderTest


@pytest.fixture(scope="session")
async def notify(start: Any) -> ServiceUnderTest:
    under_test: ServiceUnderTest = await start("notify", create_service, Settings, outbox_page=True)
    return under_test


class Cast:
    """Ada and Ben are members, Maud runs the space; all of them are known to notify."""

    def __init__(self, notify: ServiceUnderTest, tenant: UUID) -> None:
        self.notify, self.tenant = notify, tenant
        self.ada, self.ben = notify.person(tenant), notify.person(tenant)
        self.maud = notify.person(tenant, Role.MANAGER)

    async def arrive(self) -> None:
        await self.join(self.ada, Role.MEMBER)
        await self.join(self.ben, Role.MEMBER)
        await self.join(self.maud, Role.MANAGER)

    async def join(self, person: Person, *roles: Role) -> None:
        event = AccountRegistered(
            tenant_id=self.tenant, account_id=person.account_id, language=Language.FR, roles=list(roles)
        )
        await self.notify.receive(event)

    async def kinds(self, person: Person) -> list[str]:
        return [notice["kind"] for notice in (await person.get("/notices")).json()["data"]]

    async def mails(self) -> list[tuple[UUID, str, str]]:
        rows = await self.notify.rows("SELECT account_id, kind, state FROM deliveries ORDER BY id", self.tenant)
        return [(row.account_id, row.kind, row.state) for row in rows]

    def news(self) -> PostPublished:
        author = self.maud.account_id
        return PostPublished(tenant_id=self.tenant, post_id=uuid7(), author_id=author, is_announcement=True)

    def consent(self, *, given: bool) -> ConsentChanged:
        return ConsentChanged(
            tenant_id=self.tenant, account_id=self.ada.account_id, purpose=ConsentPurpose.COMMUNICATION, given=given
        )

    def mention(self) -> MemberMentioned:
        return MemberMentioned(
            tenant_id=self.tenant, post_id=uuid7(), comment_id=None, author_id=self.ben.account_id,
            mentioned_ids=[self.ada.account_id, self.ben.account_id],
        )  # fmt: skip


@pytest.fixture
async def cast(notify: ServiceUnderTest) -> Cast:
    cast = Cast(notify, await notify.tenant())
    await cast.arrive()
    return cast


Answer = Callable[[SMTP], Awaitable[str]]


class Identity:
    """The other service: everybody has the same address and language."""

    def __init__(self, language: str) -> None:
        self._language = language

    async def get(self, service: str, path: str, *, tenant_id: UUID) -> dict[str, str]:
        return {"email": "ada@example.org", "language": self._language, "url": "https://x.example/link"}


class MailServer:
    """Keeps the content that it is given, then says what `answer` returns; on the test's own loop."""

    def __init__(self, answer: Answer) -> None:
        self.received: list[bytes] = []
        self.port = 0
        self._answer = answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        self.received.append(envelope.content)
        return await self._answer(server)


Listen = Callable[[MailServer], Awaitable[MailServer]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """`await listen(MailServer(answer))`: it has a port from then on, until the end of the test."""
    listening: list[asyncio.Server] = []

    async def start(mail_server: MailServer) -> MailServer:
        loop = asyncio.get_running_loop()
        listening.append(await loop.create_server(lambda: SMTP(mail_server, loop=loop), "127.0.0.1", 0))
        mail_server.port = listening[-1].sockets[0].getsockname()[1]
        return mail_server

    yield start
    for one in listening:
        one.close()


def sender_of(notify: ServiceUnderTest, port: int, *, language: str = "fr") -> Sender:
    """Return what sends notify's mails to the mail server at `port`, with an identity that answers."""
    service: Any = notify.service
    identity: Any = Identity(language)
    server = {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_starttls": False}
    return Sender(service.database, identity, service.settings.model_copy(update=server))
