"""A space opened by the operator, and what people say at its door."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlparse
from uuid import UUID

import httpx

from shared.events.identity import LinkIssued, LinkPurpose
from tests.support.testing import Person, ServiceUnderTest, wait_for

OPERATOR = "operator-secret-of-the-tests"
PASSWORD = "Violet-Rhubarb-42!"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"
SERVICES = ("notify", "billing", "booking", "privacy")

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@dataclass
class Space:
    """A tenant and what happens at its door."""

    identity: ServiceUnderTest
    slug: str
    tenant_id: UUID
    admin_email: str
    admin_id: UUID
    services: dict[str, httpx.AsyncClient] = field(default_factory=dict)

    @property
    def public(self) -> httpx.AsyncClient:
        return self.identity.public

    async def at_door(self, path: str, body: dict[str, Any], *, method: str = "POST", **more: Any) -> httpx.Response:
        return await self.public.request(method, f"/tenants/{self.slug}/{path}", json=body, **more)

    async def sign_in(
        self, email: str, password: str = PASSWORD, *, code: str | None = None, device: str = FIREFOX
    ) -> httpx.Response:
        body = {"email": email, "password": password, "code": code}
        return await self.at_door("sessions", body, headers={"User-Agent": device})

    async def signed_in(self, email: str, password: str = PASSWORD, **more: Any) -> Person:
        answer = await self.sign_in(email, password, **more)
        assert answer.status_code == 201, answer.text
        return self.person(answer.json())

    async def signed_in_an_hour_ago(self, email: str) -> Person:
        """Sign in, let more time pass than a step-up lasts, and refresh."""
        tokens = (await self.sign_in(email)).json()
        await self.rows(
            "UPDATE sessions SET authenticated_at = authenticated_at - interval '1 hour' WHERE id = :id RETURNING 1",
            id=tokens["session_id"],
        )
        answer = await self.public.post("/tokens", json={"refresh_token": tokens["refresh_token"]})
        return self.person(answer.json())

    def person(self, tokens: dict[str, Any]) -> Person:
        return Person(UUID(tokens["account_id"]), self.tenant_id, self.public, tokens["access_token"])

    async def mailed(self, email: str, purpose: LinkPurpose) -> dict[str, Any]:
        """Return the newest mail of a purpose to an address, as notify gets it."""
        for issued in reversed(await self.identity.published(LinkIssued, self.tenant_id)):
            if issued.purpose is purpose:
                answer = await self.ask("notify", f"links/{issued.link_id}")
                if answer.status_code == 200 and answer.json()["email"] == email:
                    return {**answer.json(), "link_id": issued.link_id}
        raise AssertionError(f"no {purpose} mail")

    async def token(self, email: str, purpose: LinkPurpose) -> str:
        url = (await self.mailed(email, purpose))["url"]
        return parse_qs(urlparse(url).query)["token"][0]

    async def join(self, email: str, password: str = PASSWORD) -> Person:
        """Register, verify and sign in."""
        answer = await self.at_door("accounts", {"email": email, "password": password})
        assert answer.status_code == 202, answer.text
        token = await self.token(email, LinkPurpose.VERIFY_EMAIL)
        verified = await self.at_door("verifications", {"token": token, "password": password})
        assert verified.status_code == 204, verified.text
        return await self.signed_in(email, password)

    async def ask(self, service: str, path: str, **more: Any) -> httpx.Response:
        return await self.services[service].get(f"/{path}", params={"tenant_id": str(self.tenant_id), **more})

    async def labels(self, *ids: UUID) -> dict[str, Any]:
        parameters = {"tenant_id": str(self.tenant_id)}
        body = {"ids": [str(each) for each in ids]}
        answer = await self.services["booking"].post("/labels", json=body, params=parameters)
        assert answer.status_code == 200, answer.text
        labels: dict[str, Any] = answer.json()["labels"]
        return labels

    async def blocked(self, count: int) -> None:
        """Wait until this many of identity's transactions wait for a lock."""

        async def are_waiting() -> bool:
            ((waiting,),) = await self.rows(_WAITING)
            return bool(waiting >= count)

        await wait_for(are_waiting, seconds=30, what=f"{count} waiting transactions")

    async def rows(self, query: str, **parameters: Any) -> list[Any]:
        return await self.identity.rows(query, self.tenant_id, **parameters)


def profile(**fields: Any) -> dict[str, Any]:
    return {"language": "en", **fields}
