"""Another service's internal port for tests of what is asked there: real HTTP, answers of the test's own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from shared.internal import Internal

Answer = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def identity_answering(method: str, path: str, answer: Answer) -> AsyncIterator[Internal]:
    """Yield a client whose identity gives out tokens and answers one route below /internal."""

    async def token(_: web.Request) -> web.Response:
        return web.json_response({"access_token": "t", "expires_in": 600})

    app = web.Application()
    app.router.add_post("/internal/service-tokens", token)
    app.router.add_route(method, f"/internal/{path}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    internal = Internal("test", "secret", {"identity": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    try:
        yield internal
    finally:
        await internal.close()
        await runner.cleanup()
