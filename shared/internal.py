"""Calls to other services' /internal routes: service token, timeout, patience with a restart, and a clear failure."""

import asyncio
import math
import time
from typing import Any
from uuid import UUID

import aiohttp

from shared.db import in_transaction
from shared.problems import BadGateway, Gone, NotFound
from shared.telemetry import current_traceparent

TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)
# A service that is restarted is away for a moment: whoever needs it asks again for this long, then fails at once until it answers.
PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 0.1
RENEW_SECONDS_BEFORE_END = 30
Pairs = dict[str, Any]


class ServiceDown(BadGateway):
    """Another service is not reachable: try again shortly."""


class CalledInTransaction(RuntimeError):
    """A network call was made while a database transaction was open; it belongs before or after."""


class Internal:
    """One process's client to the other services. Raises CalledInTransaction inside a database transaction.

    Every /internal route may be asked again: it reads, or what it does twice is done once.
    """

    def __init__(self, service: str, client_secret: str, urls: dict[str, str]) -> None:
        self.service = service
        self._client_secret = client_secret
        self._urls = urls
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_ends = 0.0
        self._token_failed_at = -math.inf
        self._renewing = asyncio.Lock()
        # Since when a service does not answer: infinity while it does, no entry when it never has (it is no restart then).
        self._away_since: dict[str, float] = {}

    async def get(self, service: str, path: str, *, tenant_id: UUID | None = None, **query: Any) -> Any:
        """Return the JSON of `GET /internal/<path>`. Raises NotFound, Gone or ServiceDown."""
        return await self._call("GET", service, path, tenant_id=tenant_id, query=query)

    async def post(self, service: str, path: str, body: Any, *, tenant_id: UUID | None = None, **query: Any) -> Any:
        """Return the JSON of `POST /internal/<path>`. Raises NotFound, Gone or ServiceDown."""
        return await self._call("POST", service, path, tenant_id=tenant_id, query=query, body=body)

    async def get_bytes(self, service: str, path: str, *, tenant_id: UUID | None = None, **query: Any) -> bytes:
        """Return the raw body of `GET /internal/<path>`. Raises NotFound, Gone or ServiceDown."""
        return bytes(await self._call("GET", service, path, tenant_id=tenant_id, query=query, raw=True))

    async def keys(self) -> list[dict[str, Any]]:
        """Return identity's published token keys (RFC 7517)."""
        answer = await self._send("GET", "identity", "jwks", {}, None, raw=False)
        keys: list[dict[str, Any]] = answer["keys"]
        return keys

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        tenant_id: UUID | None,
        query: Pairs,
        body: Any = None,
        raw: bool = False,
    ) -> Any:
        if tenant_id is not None:
            query = {**query, "tenant_id": tenant_id}
        headers = {"Authorization": f"Bearer {await self._fresh_token()}"}
        return await self._send(method, service, path, headers, body, raw=raw, query=query)

    async def _fresh_token(self) -> str:
        asked = time.monotonic()
        async with self._renewing:
            if self._token_failed_at > asked:
                # Whoever was before us has waited for nothing: one wait is enough for all.
                raise ServiceDown(service="identity")
            if time.monotonic() > self._token_ends - RENEW_SECONDS_BEFORE_END:
                credentials = {"client_id": self.service, "client_secret": self._client_secret}
                try:
                    answer = await self._send("POST", "identity", "service-tokens", {}, credentials, raw=False)
                except ServiceDown:
                    self._token_failed_at = time.monotonic()
                    raise
                self._token = str(answer["access_token"])
                self._token_ends = time.monotonic() + float(answer["expires_in"])
        return self._token

    async def _send(
        self, method: str, service: str, path: str, headers: Pairs, body: Any, *, raw: bool, query: Pairs | None = None
    ) -> Any:
        if in_transaction.get():
            raise CalledInTransaction(path.split("/")[0])
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        if traceparent := current_traceparent():
            headers = {**headers, "traceparent": traceparent}
        url = f"{self._urls[service].rstrip('/')}/internal/{path}"
        parameters = {name: str(value) for name, value in (query or {}).items()}
        while True:
            started = time.monotonic()
            try:
                async with self._session.request(method, url, headers=headers, json=body, params=parameters) as answer:
                    self._away_since[service] = math.inf
                    return await _read(answer, raw=raw)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
                if not self._is_worth_waiting_for(service, started):
                    raise ServiceDown(service=service) from error
            await asyncio.sleep(RETRY_SECONDS)

    def _is_worth_waiting_for(self, service: str, started: float) -> bool:
        since = min(self._away_since.get(service, -math.inf), started)
        self._away_since[service] = since
        return time.monotonic() - since < PATIENCE_SECONDS


async def _read(answer: aiohttp.ClientResponse, *, raw: bool) -> Any:
    if answer.status == 404:
        raise NotFound
    if answer.status == 410:
        raise Gone
    if answer.status >= 400:
        raise ServiceDown(status_seen=answer.status)
    if answer.status == 204:
        return None
    return await answer.read() if raw else await answer.json()
