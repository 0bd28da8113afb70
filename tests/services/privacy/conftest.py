"""An office: Dora is the data protection officer; Ada and Nora are members. The erasure ledger, in its own database. And
the other services, as far as privacy asks them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from services.privacy.actions import cases
from services.privacy.app import create_service
from services.privacy.ledger import Entry, Ledger
from services.privacy.settings import Settings
from services.privacy.verification import complete_cases
from shared.db import utc_now
from shared.events import SERVICES
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import AccountDeactivated, ContentChoice, DeactivationReason, Role
from shared.internal import Internal
from tests.support.testing import DatabaseUrls, Person, ServiceUnderTest

KEY = "l" * 48


@pytest.fixture(scope="session")
async def ledger_urls(databases: Any) -> DatabaseUrls:
    urls: DatabaseUrls = await databases.clone("ledger")
    return urls


@pytest.fixture(scope="session")
async def privacy(start: Any, ledger_urls: DatabaseUrls) -> ServiceUnderTest:
    more = {"ledger_key": KEY, "ledger_url": ledger_urls.app, "redrive_seconds": 1}
    under_test: ServiceUnderTest = await start("privacy", create_service, Settings, **more)
    return under_test


@dataclass
class Office:
    privacy: ServiceUnderTest
    ledger: Ledger
    tenant: UUID
    slug: str
    dora: Person
    ada: Person
    nora: Person

    async def command(self, account_id: UUID, content: ContentChoice = ContentChoice.REMOVE) -> UUID:
        """Nora is deactivated: identity's event opens a case."""
        case_id = uuid4()
        reason = DeactivationReason.OWN_REQUEST
        event = AccountDeactivated(
            tenant_id=self.tenant, account_id=account_id, case_id=case_id, reason=reason, content=content
        )
        await self.privacy.receive(event)
        return case_id

    async def answer(self, case_id: UUID, service: str, outcome: Outcome = Outcome.DONE, **more: Any) -> None:
        receipt = RECEIPTS[service][0](
            tenant_id=self.tenant, case_id=case_id, account_id=self.nora.account_id, manifest_digest="sha256:x",
            outcome=outcome, **more,
        )  # fmt: skip
        await self.privacy.receive(receipt)

    async def answered(self, content: ContentChoice = ContentChoice.REMOVE) -> UUID:
        """Nora is deactivated and every service has answered."""
        case_id = await self.command(self.nora.account_id, content)
        for service in SERVICES:
            await self.answer(case_id, service)
        return case_id

    async def case(self, case_id: UUID) -> Any:
        return (await self.privacy.public.get(f"/cases/{case_id}")).json()

    async def entry(self, case_id: UUID, **found: int) -> Entry | None:
        """Note what verifications found (0 where nothing is said); return what the ledger is to say."""
        async with self.privacy.database.transaction(self.tenant) as session:
            await cases.note_remaining(session, [(case_id, name, found.get(name, 0)) for name in SERVICES])
            case = await cases.get_case(session, case_id)
            return (await cases.entries_of(session, [case], self.ledger, now=utc_now())).get(case_id)

    async def verified(self, case_id: UUID, *, ledger: Ledger | None = None, **found: int) -> bool:
        """Note what verifications found and try to complete, as the job does."""
        entry = await self.entry(case_id, **found)
        if entry is None:
            return False
        return bool(await complete_cases(self.privacy.database, self.tenant, ledger or self.ledger, {case_id: entry}))


class Others:
    """Answers for the other services on one internal port; a test says whom they know, what they hold and who is away."""

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}
        # Keys that rows name, and the files that the store has.
        self.named: list[str] = []
        self.files: dict[str, bytes] = {}
        # Accounts of which nobody has heard.
        self.unknown: set[str] = set()
        self.are_away = False
        # What happens, once, between a question and its answer.
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None
        self.leaving: set[str] = set()
        self.erased: set[str] = set()
        self.last_administrator = ""
        self.deactivations = 0

    @web.middleware
    async def reach(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.are_away:
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def token(self, _: web.Request) -> web.Response:
        return web.json_response({"access_token": "t", "expires_in": 600})

    async def export(self, request: web.Request) -> web.Response:
        if request.match_info["account"] in self.unknown:
            return web.Response(status=404)
        await self._pass_time()
        return web.json_response({"tables": self.tables, "files": self.named})

    async def file(self, request: web.Request) -> web.Response:
        content = self.files.get(request.query["key"])
        return web.Response(status=404) if content is None else web.Response(body=content)

    async def deactivate(self, request: web.Request) -> web.Response:
        account = request.match_info["account"]
        if account in self.unknown | self.erased:
            return web.Response(status=404 if account in self.unknown else 410)
        if account == self.last_administrator:
            return web.Response(status=409)
        await self._pass_time()
        self.leaving.add(account)
        self.deactivations += 1
        return web.json_response({"case_id": str(uuid4())}, status=202)

    async def _pass_time(self) -> None:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()


@pytest.fixture
async def others(privacy: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Others]:
    others = Others()
    app = web.Application(middlewares=[others.reach])
    app.router.add_post("/internal/service-tokens", others.token)
    app.router.add_get("/internal/exports/{account}", others.export)
    app.router.add_get("/internal/exports/{account}/files", others.file)
    app.router.add_post("/internal/accounts/{account}/deactivation", others.deactivate)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    internal = Internal("privacy", "secret", dict.fromkeys(SERVICES, f"http://127.0.0.1:{runner.addresses[0][1]}"))
    monkeypatch.setattr(privacy.service, "internal", internal)
    yield others
    await internal.close()
    await runner.cleanup()


@pytest.fixture
async def office(privacy: ServiceUnderTest, ledger_urls: DatabaseUrls) -> AsyncIterator[Office]:
    slug = f"office-{uuid4().hex[:8]}"
    tenant = await privacy.tenant(slug=slug)
    ledger = Ledger(KEY, ledger_urls.app)
    people = privacy.person(tenant, Role.DPO), privacy.person(tenant), privacy.person(tenant)
    yield Office(privacy, ledger, tenant, slug, *people)
    await ledger.close()
