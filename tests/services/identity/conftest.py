"""A space with its administrator Agnes, and the members Ada and Ben who registered by mail."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.identity.app import create_service
from services.identity.settings import Settings
from tests.services.identity.door import OPERATOR, PASSWORD, SERVICES, Space
from tests.support.testing import Person, ServiceUnderTest


@pytest.fixture(scope="session")
async def identity(start: Any) -> ServiceUnderTest:
    digests = {name: hashlib.sha256(f"secret-{name}".encode()).hexdigest() for name in SERVICES}
    return await start(
        "identity",
        create_service,
        Settings,
        owns_keys=True,
        key_secret="s" * 32,
        operator_secret=OPERATOR,
        client_digests=digests,
        settle_seconds=0,
    )


@pytest.fixture(scope="session")
async def services(identity: ServiceUnderTest) -> dict[str, httpx.AsyncClient]:
    """Other services' clients, each with the token that its own credentials get."""
    clients = {}
    for name in SERVICES:
        body = {"client_id": name, "client_secret": f"secret-{name}"}
        token = (await identity.internal.post("/service-tokens", json=body)).json()["access_token"]
        transport = httpx.ASGITransport(app=identity.service.internal_app(), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"}
        clients[name] = httpx.AsyncClient(transport=transport, base_url="http://cowork/internal", headers=headers)
    return clients


Open = Callable[..., Awaitable[Space]]


@pytest.fixture
async def open_space(identity: ServiceUnderTest, services: dict[str, httpx.AsyncClient]) -> Open:
    async def open_one(**more: Any) -> Space:
        slug = f"loft-{uuid4().hex[:8]}"
        email = f"agnes-{uuid4().hex[:6]}@example.com"
        body = {"slug": slug, "name": "Loft République", "admin": {"email": email, "password": PASSWORD}, **more}
        opened = await identity.public.post("/tenants", json=body, headers={"Operator-Secret": OPERATOR})
        assert opened.status_code == 201, opened.text
        answer = opened.json()
        return Space(identity, slug, UUID(answer["tenant_id"]), email, UUID(answer["account_id"]), services)

    return open_one


@pytest.fixture
async def space(open_space: Open) -> Space:
    return await open_space()


@pytest.fixture
async def agnes(space: Space) -> Person:
    return await space.signed_in(space.admin_email)


@pytest.fixture
async def ada(space: Space) -> Person:
    return await space.join("ada@example.com")


@pytest.fixture
async def ben(space: Space) -> Person:
    return await space.join("ben@example.com")
