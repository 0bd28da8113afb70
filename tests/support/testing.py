"""What every service's tests need: a cloned database, a token mint, and the service behind an HTTP client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, text

from services.privacy.ledger.database import upgrade_ledger
from shared.auth import ALGORITHM, AUDIENCE, ISSUER
from shared.bus import Consumers, Envelope, Event
from shared.bus.inbox import Inbox, Outcome
from shared.bus.tables import event_log
from shared.bus.transport import Delivery
from shared.db import Database, utc_now, uuid7
from shared.events.identity import Language, Role, TenantRegistered
from shared.migrate import upgrade

SQLALCHEMY_SCHEME = "postgresql+asyncpg://"


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """A service's own database, migrated; `owner` migrates, `app` serves (asyncpg-driver SQLAlchemy addresses)."""

    owner: str
    app: str


Provision = Callable[[str, Mapping[str, tuple[str, str]], str], Awaitable[None]]


class Databases:
    """Databases cloned from one migrated template per service and run.

    `provision(admin_url, {service: (owner password, application password)}, prefix)` creates database and roles.
    """

    def __init__(
        self, admin_url: str, prefix: str, passwords: Mapping[str, tuple[str, str]], provision: Provision
    ) -> None:
        self._admin_url = admin_url
        self._prefix = prefix
        self._passwords = passwords
        self._provision = provision
        self._made: list[str] = []

    async def clone(self, service: str) -> DatabaseUrls:
        """Return a fresh migrated database of `service`, or of the ledger."""
        template, owner, app = (f"{self._prefix}_{service}{part}" for part in ("", "_owner", "_app"))
        admin = await asyncpg.connect(self._admin_url)
        try:
            # One worker migrates the template, the others wait for it.
            await admin.execute("SELECT pg_advisory_lock(hashtext($1))", template)
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", template):
                await self._make_template(service, self._urls(template, service))
            database = f"{template}_{uuid4().hex[:10]}"
            await admin.execute(f"CREATE DATABASE {database} TEMPLATE {template} OWNER {owner}")
            await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
            await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO {app}")
        finally:
            await admin.close()
        self._made.append(database)
        return self._urls(database, service)

    async def drop_all(self) -> None:
        admin = await asyncpg.connect(self._admin_url)
        try:
            for database in self._made:
                await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        finally:
            await admin.close()

    async def _make_template(self, service: str, urls: DatabaseUrls) -> None:
        await self._provision(self._admin_url, {service: self._passwords[service]}, self._prefix)
        await (upgrade_ledger(urls.owner) if service == "ledger" else upgrade(service, urls.owner))

    def _urls(self, database: str, service: str) -> DatabaseUrls:
        place = self._admin_url.rsplit("@", 1)[1].rsplit("/", 1)[0]
        owner, app = self._passwords[service]
        role = f"{self._prefix}_{service}"
        return DatabaseUrls(
            owner=f"{SQLALCHEMY_SCHEME}{role}_owner:{owner}@{place}/{database}",
            app=f"{SQLALCHEMY_SCHEME}{role}_app:{app}@{place}/{database}",
        )


class TokenMint:
    """Signs access tokens as identity would, with a key of the test run."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    async def fetch_keys(self) -> list[dict[str, Any]]:
        """The `fetch_keys` of a service under test."""
        public = jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return [{**public, "kid": "test", "alg": ALGORITHM, "use": "sig"}]

    def mint(
        self,
        account_id: UUID,
        tenant_id: UUID,
        *,
        roles: Iterable[Role] = (Role.MEMBER,),
        authenticated_at: datetime | None = None,
        lifetime: timedelta = timedelta(minutes=5),
        **claims: Any,
    ) -> str:
        """Return an access token; `claims` override."""
        now = utc_now()
        content = {
            "sub": str(account_id),
            "tid": str(tenant_id),
            "sid": str(uuid7()),
            "roles": [str(role) for role in roles],
            "auth_time": int((authenticated_at or now).timestamp()),
        }
        return self._sign({**content, **claims}, now, lifetime)

    def mint_service(self, service: str, scopes: Iterable[str] = ("internal",)) -> str:
        """Return a service token, as client credentials give one."""
        return self._sign({"sub": service, "typ": "service", "scopes": list(scopes)}, utc_now(), timedelta(minutes=5))

    def _sign(self, content: dict[str, Any], now: datetime, lifetime: timedelta) -> str:
        standard = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode({**standard, **content}, self._key, algorithm=ALGORITHM, headers={"kid": "test"})


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a test's cast, signed in: `await ada.get("/reservations")` (paths below /api/<service>/v1)."""

    account_id: UUID
    tenant_id: UUID
    client: httpx.AsyncClient
    token: str

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.request("GET", path, **more)

    async def post(self, path: str, json: Any = None, *, key: str | None = None, **more: Any) -> httpx.Response:
        """POST with a fresh Idempotency-Key unless `key` is given ("" sends none)."""
        headers = more.pop("headers", {})
        if key != "":
            headers = {"Idempotency-Key": key or uuid4().hex, **headers}
        return await self.request("POST", path, json=json, headers=headers, **more)

    async def put(self, path: str, json: Any = None, *, etag: str | None = None, **more: Any) -> httpx.Response:
        return await self.request("PUT", path, json=json, headers=_matching(etag, more), **more)

    async def patch(self, path: str, json: Any = None, *, etag: str | None = None, **more: Any) -> httpx.Response:
        return await self.request("PATCH", path, json=json, headers=_matching(etag, more), **more)

    async def delete(self, path: str, *, etag: str | None = None, **more: Any) -> httpx.Response:
        return await self.request("DELETE", path, headers=_matching(etag, more), **more)


def _matching(etag: str | None, more: dict[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = more.pop("headers", {})
    return {"If-Match": etag, **headers} if etag is not None else headers


class ServiceUnderTest:
    """A real service over its own database, reached in process; events are handed in and read from the log."""

    def __init__(self, service: Any, mint: TokenMint) -> None:
        self.service = service
        self.mint = mint
        self.database: Database = service.database
        self.public = _client(service.public_app(), f"http://cowork/api/{service.name}/v1")
        self.internal = _client(service.internal_app(), "http://cowork/internal")
        self.internal.headers["Authorization"] = f"Bearer {mint.mint_service('test')}"

    async def tenant(self, *, slug: str | None = None) -> UUID:
        """Register a tenant as identity's event would; return its id."""
        tenant_id = uuid7()
        event = TenantRegistered(
            tenant_id=tenant_id,
            slug=slug or f"space-{tenant_id.hex[-8:]}",
            languages=[Language.FR, Language.EN],
            default_language=Language.EN,
            time_zone="Europe/Paris",
        )
        await self.receive(event)
        return tenant_id

    def person(self, tenant_id: UUID, *roles: Role, account_id: UUID | None = None, **claims: Any) -> Person:
        """Sign somebody in; without roles, a plain member."""
        account_id = account_id or uuid7()
        token = self.mint.mint(account_id, tenant_id, roles=roles or (Role.MEMBER,), **claims)
        return Person(account_id, tenant_id, self.public, token)

    async def receive(self, event: Event, *, version: int = 1, event_id: UUID | None = None) -> Outcome:
        """Hand an event to the service's reactions exactly as its consumer would."""
        return await receive(self.database, self.service.consumers, event, version=version, event_id=event_id)

    async def published(self, contract: type[Event], tenant_id: UUID | None = None) -> list[Any]:
        """Return the events of a type in the service's log, oldest first (redacted ones left out)."""
        statement = select(event_log.c.data).where(event_log.c.type == contract.type, event_log.c.data.is_not(None))
        if tenant_id is not None:
            statement = statement.where(event_log.c.tenant_id == tenant_id)
        async with self.database.transaction() as session:
            rows = (await session.execute(statement.order_by(event_log.c.position))).scalars().all()
        return [contract.model_validate(row) for row in rows]

    async def run_job(self, name: str) -> None:
        """Run one of the service's scheduled jobs now."""
        (job,) = [job for job in self.service.schedule.jobs if job.name == name]
        await job.work(self.service)

    async def rows(self, query: str, tenant_id: UUID | None = None, **parameters: Any) -> list[Any]:
        """Return the rows of a query, inside the tenant's row security."""
        async with self.database.transaction(tenant_id) as session:
            return list((await session.execute(text(query), parameters)).all())

    async def close(self) -> None:
        await self.public.aclose()
        await self.internal.aclose()
        await self.service.close()


def _client(app: Any, base_url: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base_url, timeout=30)


async def receive(
    database: Database,
    consumers: Consumers,
    event: Event,
    *,
    version: int = 1,
    epoch: int = 0,
    event_id: UUID | None = None,
) -> Outcome:
    """Run an event through the inbox of `consumers`, as one delivery."""
    envelope = Envelope(
        id=event_id or uuid7(),
        type=event.type,
        tenant_id=event.tenant_id,
        key=event.key,
        version=version,
        epoch=epoch,
        time=utc_now(),
        data=event.model_dump(mode="json"),
    )

    async def nothing(*_: Any) -> None:
        return None

    return await Inbox(database, consumers).handle(envelope, Delivery(envelope.encode(), nothing, nothing))


async def wait_for(condition: Callable[[], Any], *, seconds: float = 10.0, what: str = "the condition") -> Any:
    """Await `condition()` (sync or async) until it is truthy and return it. Raises AssertionError after `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if loop.time() > until:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        await asyncio.sleep(0.05)
