"""The gateway's template in Debian's nginx: what passes, what never does, and what is written down about it."""

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shared.events import SERVICES
from tests.support.debian import install_debian, may_install
from tests.support.ports import free_port

START = Path(__file__).resolve().parents[2] / "deploy" / "gateway" / "start"


class Upstream:
    """A server in the place of a service: it answers with what has reached it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.reached: list[dict[str, Any]] = []
        self.go_on = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> "Upstream":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/api/notify/v1/stream", self._stream)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.reached.append(
            {
                "target": request.raw_path,
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "bytes": len(body),
            }
        )
        if request.path.endswith("/broken"):
            return web.json_response({"code": "own"}, status=502)
        return web.json_response(self.reached[-1])

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: first\n\n")
        await self.go_on.wait()
        await answer.write(b"data: second\n\n")
        return answer


class Gateway:
    """nginx as its container starts it, before one upstream that plays every service."""

    def __init__(self, folder: Path, upstream: Upstream, **more: str) -> None:
        self.port, self.upstream = free_port(), upstream
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "gateway.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_CONFIGURATION": str(folder / "gateway.conf"),
            "GATEWAY_RESOLVER": "127.0.0.1",
            **{f"GATEWAY_{service.upper()}": upstream.address for service in SERVICES},
            **more,
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> "Gateway":
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(START), env=self._environment, stdout=log, stderr=log
            )
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return self
            except OSError:
                await asyncio.sleep(0.05)
        raise AssertionError(self._log.read_text())

    async def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        await self._process.wait()

    async def logged(self, count: int) -> list[dict[str, Any]]:
        """Return the access log once it has so many lines."""
        for _ in range(100):
            lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
            if len(lines) >= count:
                return lines
            await asyncio.sleep(0.02)
        raise AssertionError(self._log.read_text())

    def everything_logged(self) -> str:
        return self._log.read_text()


def need_nginx() -> None:
    """Find nginx and envsubst, or install Debian's."""
    if shutil.which("nginx") and shutil.which("envsubst"):
        return
    if not may_install():
        pytest.fail("the gateway's tests need nginx and envsubst (Debian: apt install nginx-light gettext-base)")
    install_debian("nginx-light", "gettext-base")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = await Upstream().start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def gateway(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Gateway]:
    await asyncio.to_thread(need_nginx)
    gateway = await Gateway(tmp_path, upstream).start()
    yield gateway
    await gateway.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_is_reached_with_its_path_and_query(
    gateway: Gateway, http: aiohttp.ClientSession, service: str
) -> None:
    target = f"/api/{service}/v1/things/a%2Fb?q=caf%C3%A9&limit=2"
    async with http.get(f"{gateway.url}{target}", skip_auto_headers=["Accept"]) as answer:
        assert (answer.status, (await answer.json())["target"]) == (200, target)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


@pytest.mark.parametrize(
    "path",
    [
        "/internal/contacts/1",
        "/metrics",
        "/livez",
        "/readyz",
        "/api/identity/internal/contacts/1",
        "/api/identity/metrics",
        "/api/nobody/v1/things",
        "/api/identity/v1/../../../metrics",
        "/api/identity/v2/things",
        "/502.html",
    ],
)
async def test_what_is_not_public_is_not_there(gateway: Gateway, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"{gateway.url}{path}") as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"
        assert (await answer.json(content_type=None))["code"] == "not_found"
    assert gateway.upstream.reached == []


async def test_a_client_cannot_speak_for_others(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    forged = {
        "X-Internal-Service": "billing",
        "X-User-Id": "somebody",
        "X-Forwarded-For": "203.0.113.9",
        "X-Request-Id": "mine",
        "Cookie": "a=b",
        "Authorization": "Bearer t",
        "Idempotency-Key": "k",
        "If-Match": '"1"',
        "Accept-Language": "fr",
    }
    async with http.get(f"{gateway.url}/api/feed/v1/posts", headers=forged) as answer:
        reached = (await answer.json())["headers"]
    assert {name for name in reached if name.startswith(("x-internal", "x-user", "cookie"))} == set()
    assert reached["x-forwarded-for"] == "127.0.0.1"
    assert re.fullmatch("[0-9a-f]{32}", reached["x-request-id"])
    kept = ("Authorization", "Idempotency-Key", "If-Match", "Accept-Language")
    assert {name: reached[name.lower()] for name in kept} == {name: forged[name] for name in kept}


async def test_a_trusted_proxy_is_believed(tmp_path: Path, upstream: Upstream, http: aiohttp.ClientSession) -> None:
    await asyncio.to_thread(need_nginx)
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "proxies.conf").write_text("set_real_ip_from 127.0.0.0/8;\n")
    gateway = await Gateway(tmp_path, upstream, GATEWAY_TRUSTED=str(trusted)).start()
    try:
        headers = {"X-Forwarded-For": "203.0.113.9"}
        async with http.get(f"{gateway.url}/api/feed/v1/posts", headers=headers) as answer:
            assert (await answer.json())["headers"]["x-forwarded-for"] == "203.0.113.9"
    finally:
        await gateway.stop()


@pytest.mark.parametrize(
    ("path", "megabytes", "status"),
    [
        ("/api/feed/v1/posts", 0.9, 200),
        ("/api/feed/v1/posts", 1.1, 413),
        ("/api/helpdesk/v1/tickets/1/attachments", 10.5, 200),
        ("/api/helpdesk/v1/tickets/1/attachments", 11.5, 413),
        ("/api/identity/v1/profile/picture", 5.5, 200),
        ("/api/identity/v1/profile/picture", 6.5, 413),
    ],
)
async def test_bodies_have_the_size_that_their_route_takes(
    gateway: Gateway, http: aiohttp.ClientSession, path: str, megabytes: float, status: int
) -> None:
    async with http.post(f"{gateway.url}{path}", data=b"x" * int(megabytes * 1024 * 1024)) as answer:
        assert answer.status == status
        if status == 413:
            assert (await answer.json(content_type=None))["code"] == "too_large"


async def test_who_knocks_too_often_has_to_wait(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    statuses = []
    for _ in range(30):
        async with http.post(f"{gateway.url}/api/identity/v1/tenants/canal/sessions", json={}) as answer:
            statuses.append(answer.status)
            last = await answer.json(content_type=None)
    assert statuses[:20] == [200] * 20
    assert statuses[-1] == 429
    assert last["code"] == "too_many_requests"
    async with http.get(f"{gateway.url}/api/feed/v1/posts") as answer:
        assert answer.status == 200, "the other routes are free"


async def test_a_service_that_is_away_stops_nobody_else_and_is_told_in_both_languages(
    tmp_path: Path, upstream: Upstream, http: aiohttp.ClientSession
) -> None:
    await asyncio.to_thread(need_nginx)
    nobody = f"127.0.0.1:{free_port()}"
    gateway = await Gateway(tmp_path, upstream, GATEWAY_BILLING=nobody, GATEWAY_FEED="no-such-host:8000").start()
    try:
        async with http.get(f"{gateway.url}/api/booking/v1/resources") as answer:
            assert answer.status == 200
        for service in ("billing", "feed"):
            async with http.get(f"{gateway.url}/api/{service}/v1/things?token=secret") as answer:
                assert (answer.status, answer.content_type) == (502, "application/problem+json")
                assert (await answer.json(content_type=None))["code"] == "service_down"
        async with http.get(f"{gateway.url}/api/billing/v1/orders", headers={"Accept": "text/html"}) as answer:
            page = await answer.text()
            assert (answer.status, answer.content_type) == (502, "text/html")
        assert "Momentanément indisponible" in page
        assert "Unavailable for a moment" in page
        async with http.get(f"{gateway.url}/api/booking/v1/broken") as answer:
            assert (await answer.json())["code"] == "own", "a service's own answer is left alone"
        assert "secret" not in gateway.everything_logged()
    finally:
        await gateway.stop()


async def test_the_log_knows_paths_but_no_query_and_no_token(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": "Bearer hush"}
    async with http.get(f"{gateway.url}/api/notify/v1/unsubscriptions?token=secret", headers=headers) as answer:
        request_id = answer.headers["X-Request-Id"]
    async with http.get(f"{gateway.url}/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")
    (line,) = await gateway.logged(1)
    assert (line["path"], line["status"], line["service"]) == ("/api/notify/v1/unsubscriptions", 200, "notify")
    assert line["request_id"] == request_id
    assert not re.search("secret|hush", gateway.everything_logged())


async def test_server_sent_events_come_as_they_are_sent(gateway: Gateway, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{gateway.url}/api/notify/v1/stream") as answer:
        async with asyncio.timeout(5):
            assert await answer.content.readline() == b"data: first\n"
        gateway.upstream.go_on.set()
        assert (await answer.content.read()).endswith(b"data: second\n\n")


async def test_a_missing_address_is_named() -> None:
    environment = {"PATH": os.environ["PATH"], "GATEWAY_IDENTITY": "identity:8000"}
    process = await asyncio.create_subprocess_exec(str(START), env=environment, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"GATEWAY_BOOKING is not set" in said
