"""Tokens that are not valid now are refused everywhere, with the same answer; a failed commit is never a success."""

from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from sqlalchemy import text

from services.feed.app import create_service
from services.feed.settings import Settings
from shared.auth import Session, revoked_sessions
from shared.db import utc_now, uuid7
from shared.internal import CalledInTransaction, Internal
from shared.settings import SuiteSettings
from tests.support.testing import Databases, Person, ServiceUnderTest, TokenMint


@pytest.fixture(scope="module")
async def feed(databases: Databases, mint: TokenMint, tmp_path_factory: Any) -> Any:
    urls = await databases.clone("feed")
    suite = SuiteSettings(files_url=tmp_path_factory.mktemp("files").as_uri())
    values = {"database_url": urls.app, "client_secret": "s", "digest_key": "k" * 32}
    under_test = ServiceUnderTest(create_service(Settings(suite=suite, **values), fetch_keys=mint.fetch_keys), mint)
    yield under_test
    await under_test.close()


def as_person(feed: ServiceUnderTest, token: str) -> Person:
    return Person(uuid7(), uuid7(), feed.public, token)


async def test_a_token_that_is_not_valid_now_is_refused(feed: ServiceUnderTest, mint: TokenMint) -> None:
    account, tenant = uuid7(), await feed.tenant()
    genuine = mint.mint(account, tenant)
    assert (await as_person(feed, genuine).get("/posts")).status_code == 200
    claims = jwt.decode(genuine, options={"verify_signature": False})
    header, body, signature = genuine.split(".")
    stranger = Ed25519PrivateKey.generate()
    for forged in (
        mint.mint(account, tenant, lifetime=timedelta(seconds=-1)),
        mint.mint(account, tenant, aud="elsewhere"),
        mint.mint(account, tenant, roles=["emperor"]),
        mint.mint_service("booking"),
        f"{header}.{body}.{signature[:-4]}AAAA",
        f"{header}.{body}.",
        jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": "test"}),
        jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": "unknown"}),
        jwt.encode(claims, "secret" * 8, algorithm="HS256", headers={"kid": "test"}),
        jwt.encode(claims, None, algorithm="none"),
        "not a token",
    ):
        refused = await as_person(feed, forged).get("/posts")
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_session_is_refused_though_its_token_is_cached(feed: ServiceUnderTest, mint: TokenMint) -> None:
    tenant, session_id = await feed.tenant(), uuid7()
    person = as_person(feed, mint.mint(uuid7(), tenant, sid=str(session_id)))
    assert (await person.get("/posts")).status_code == 200
    async with feed.database.transaction() as session:
        row = {"session_id": session_id, "tenant_id": tenant, "until": utc_now() + timedelta(minutes=5)}
        await session.execute(revoked_sessions.insert().values(row))
    assert (await person.get("/posts")).status_code == 401


async def test_a_restricted_session_leads_nowhere_but_to_a_new_password(
    feed: ServiceUnderTest, mint: TokenMint
) -> None:
    restricted = as_person(feed, mint.mint(uuid7(), await feed.tenant(), restricted=True))
    refused = await restricted.get("/posts")
    assert (refused.status_code, refused.json()["code"]) == (403, "password_expired")


async def test_internal_routes_want_a_service(feed: ServiceUnderTest, mint: TokenMint) -> None:
    person = {"Authorization": f"Bearer {mint.mint(uuid7(), await feed.tenant())}"}
    for headers in ({"Authorization": ""}, person):
        assert (await feed.internal.get("/manifest", headers=headers)).status_code == 401
    assert (await feed.internal.get("/manifest")).status_code == 200
    assert (await feed.public.get("http://cowork/internal/manifest")).status_code == 404


async def test_a_commit_that_fails_never_answers_a_success(feed: ServiceUnderTest, mint: TokenMint) -> None:
    app: FastAPI = feed.service.public_app()

    @app.post("/doomed", status_code=201)
    async def doomed(session: Session) -> dict[str, bool]:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
        async with feed.database.transaction() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        return {"ok": True}

    import httpx

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        token = mint.mint(uuid7(), await feed.tenant())
        answer = await client.post("/doomed", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"


async def test_no_other_service_is_called_inside_a_transaction(feed: ServiceUnderTest) -> None:
    internal = Internal("feed", "s", {"identity": "http://127.0.0.1:9"})
    async with feed.database.transaction():
        with pytest.raises(CalledInTransaction):
            await internal.keys()
    await internal.close()
