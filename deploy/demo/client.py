"""A small client of the public API, as the demo and the journeys use it."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlparse
from uuid import uuid4

import aiohttp

LINK = re.compile(r"https?://[^\s<]+[?&]token=[^\s<&]+")
WAIT_SECONDS = 30
TOO_MANY = 429


class Refused(RuntimeError):
    """The API refused a call of the demo; `status` and the problem's code say why."""

    def __init__(self, reason: str, *, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class Member:
    """Somebody signed in."""

    account_id: str
    email: str
    token: str


class Client:
    """Calls the services of one space. `base_url(service)` is where a service's public API answers."""

    def __init__(
        self, base_url: Callable[[str], str], session: aiohttp.ClientSession, *, slug: str, outbox_token: str
    ) -> None:
        self._base_url = base_url
        self.slug = slug
        self._session = session
        self._outbox_token = outbox_token

    def url(self, path: str) -> str:
        """Return the address of `/<service>/v1/…`."""
        return f"{self._base_url(path.split('/')[1])}/api{path}"

    async def get_bytes(self, path: str, *, by: Member) -> bytes:
        async with self._session.get(self.url(path), headers={"Authorization": f"Bearer {by.token}"}) as answer:
            if answer.status >= 400:
                raise Refused(f"GET {path}: {answer.status} {await answer.text()}", status=answer.status)
            return await answer.read()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: Member | None = None,
        etag: str | None = None,
        **more: Any,
    ) -> Any:
        """Return the JSON of `/api<path>` (None for 204). Raises Refused for any problem."""
        headers = {"Idempotency-Key": uuid4().hex, **more.pop("headers", {})}
        if by is not None:
            headers["Authorization"] = f"Bearer {by.token}"
        if etag is not None:
            headers["If-Match"] = etag
        async with self._session.request(method, self.url(path), json=body, headers=headers, **more) as answer:
            if answer.status >= 400:
                raise Refused(f"{method} {path}: {answer.status} {await answer.text()}", status=answer.status)
            return None if answer.status == 204 else await answer.json()

    async def sign_in(self, email: str, password: str) -> Member:
        tokens = await self.call(
            "POST", f"/identity/v1/tenants/{self.slug}/sessions", {"email": email, "password": password}
        )
        return Member(tokens["account_id"], email, tokens["access_token"])

    async def mailed_token(self, email: str, *, other_than: str | None = None) -> str:
        """Return the token of the newest link mailed to an address, as its reader would open it.

        `other_than` is the token of an older mail, whose link is spent: the next mail is waited for.
        """
        for _ in range(WAIT_SECONDS * 10):
            found = await self._newest_link(email)
            token = parse_qs(urlparse(found).query)["token"][0] if found is not None else None
            if token is not None and token != other_than:
                return token
            await asyncio.sleep(0.1)
        raise Refused(f"no mail came within {WAIT_SECONDS} s")

    async def _newest_link(self, email: str) -> str | None:
        async with self._session.get(self.url("/notify/v1/outbox"), params={"token": self._outbox_token}) as answer:
            mails = (await answer.text()).split("<hr>")
        for mail in mails:
            if f">{email} ·" in mail and (link := LINK.search(mail)):
                return link.group(0)
        return None

    async def upload(
        self, method: str, path: str, content: bytes, *, name: str, by: Member, field: str = "file"
    ) -> Any:
        form = aiohttp.FormData()
        form.add_field(field, content, filename=name, content_type="image/png")
        headers = {"Authorization": f"Bearer {by.token}"}
        async with self._session.request(method, self.url(path), data=form, headers=headers) as answer:
            if answer.status >= 400:
                raise Refused(f"{method} {path}: {answer.status} {await answer.text()}", status=answer.status)
            return None if answer.status == 204 else await answer.json()


class MailboxClient(Client):
    """Comes through a gateway, waits where it is told to, and opens mailed links from a mail catcher."""

    def __init__(self, url: str, session: aiohttp.ClientSession, *, slug: str, mailbox_url: str) -> None:
        super().__init__(lambda _: url, session, slug=slug, outbox_token="")
        self._mailbox_url = mailbox_url.rstrip("/")

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        for _ in range(WAIT_SECONDS):
            try:
                return await super().call(method, path, body, **more)
            except Refused as error:
                if error.status != TOO_MANY:
                    raise
            await asyncio.sleep(1)
        raise Refused(f"{method} {path}: too many requests for {WAIT_SECONDS} s", status=TOO_MANY)

    async def _newest_link(self, email: str) -> str | None:
        async with self._session.get(f"{self._mailbox_url}/latest", params={"to": email}) as answer:
            found = LINK.search((await answer.json())["text"]) if answer.status == 200 else None
        return found.group(0) if found else None
