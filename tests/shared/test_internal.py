"""Calls between services: a restart is waited for, a service that stays away is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shared import internal as calls
from shared.internal import Internal, ServiceDown


@asynccontextmanager
async def identity(port: int = 0) -> AsyncIterator[int]:
    """Serve identity's keys on a port of 127.0.0.1."""

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": [{"kid": "k"}]})

    app = web.Application()
    app.router.add_get("/internal/jwks", keys)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that was tried, in order."""
    seen: list[str] = []
    send = calls.aiohttp.ClientSession.request

    def request(self: object, method: str, url: str, **more: object) -> object:
        seen.append(url)
        return send(self, method, url, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(calls.aiohttp.ClientSession, "request", request)
    return seen


async def test_a_restart_is_waited_for_and_a_service_that_stays_away_is_not(
    monkeypatch: pytest.MonkeyPatch, attempts: list[str]
) -> None:
    async with identity() as port:
        internal = Internal("test", "secret", {"identity": f"http://127.0.0.1:{port}"})
        assert await internal.keys() == [{"kid": "k"}]
    asked = asyncio.create_task(internal.keys())
    while len(attempts) < 4:
        await asyncio.sleep(0.01)
    async with identity(port):
        assert await asked == [{"kid": "k"}], "it came back while somebody asked"
    monkeypatch.setattr(calls, "PATIENCE_SECONDS", 0.3)
    before = len(attempts)
    with pytest.raises(ServiceDown):
        await internal.keys()
    patient = len(attempts) - before
    with pytest.raises(ServiceDown):
        await internal.keys()
    assert patient > 1
    assert len(attempts) - before - patient == 1, "it is known to be away: nobody waits again"
    async with identity(port):
        assert await internal.keys() == [{"kid": "k"}], "one answer, and it is trusted again"
    await internal.close()


async def test_a_service_that_never_answered_is_not_waited_for(attempts: list[str]) -> None:
    internal = Internal("test", "secret", {"identity": "http://127.0.0.1:9"})
    with pytest.raises(ServiceDown):
        await internal.keys()
    assert len(attempts) == 1
    await internal.close()


async def test_many_calls_wait_together_for_a_token_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, attempts: list[str]
) -> None:
    monkeypatch.setattr(calls, "TIMEOUT", calls.aiohttp.ClientTimeout(total=0.3))
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    internal = Internal("test", "secret", {"identity": f"http://127.0.0.1:{port}"})
    answers = await asyncio.gather(*(internal.get("identity", "x") for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ServiceDown] * 5
    assert len(attempts) == 1
    await internal.close()
    server.close()
