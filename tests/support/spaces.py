"""A space with its people, made through the public API of a running suite."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from shared.db import uuid7
from shared.events import SERVICES

PASSWORD = "Violet-Rhubarb-42!"


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
            for service in SERVICES:
                counted = "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM inbox_waiting) AS n"
                waiting += (await self.suite.query(service, counted))[0]["n"]
            if not waiting:
                await asyncio.sleep(0.3)
                return
            await asyncio.sleep(0.1)
        raise AssertionError("events are still on their way")


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
    for service in SERVICES:
        for _ in range(200):
            if await space.suite.query(service, "SELECT 1 FROM tenants WHERE tenant_id = $1", space.tenant_id):
                break
            await asyncio.sleep(0.05)
    await work()


async def crowd(space: Space, size: int) -> list[UUID]:
    """Accounts with a post each, written at once."""
    ids = [uuid7() for _ in range(size)]
    await space.suite.query(
        "identity",
        "INSERT INTO accounts (id, tenant_id, email, state, roles, language, created_at, version)"
        " SELECT a, $1, 'crowd-' || a || '@example.org', 'active', ARRAY['member'], 'fr', now(), 1"
        " FROM unnest($2::uuid[]) AS t(a) RETURNING id",
        space.tenant_id,
        ids,
    )
    await space.suite.query(
        "feed",
        "INSERT INTO posts (id, tenant_id, thread_id, author_id, body, is_announcement, version)"
        " SELECT a, $1, a, a, 'words of ' || a, false, 1 FROM unnest($2::uuid[]) AS t(a) RETURNING id",
        space.tenant_id,
        ids,
    )
    return ids
