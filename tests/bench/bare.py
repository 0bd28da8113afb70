"""The raw limit of a read: Starlette and asyncpg, one prepared query, orjson; `python -m tests.bench.bare PORT URL`."""

import asyncio
import os
import signal
import sys
from typing import Any

import asyncpg
import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.servers import HttpServer

LIST = (
    "SELECT id, resource_id, account_id, starts_at, ends_at, state, note, price_minor, currency, vat_rate_bp,"
    " cancelled_for, refund_minor, created_at FROM reservations WHERE account_id = $1 ORDER BY starts_at, id LIMIT $2"
)
CONNECTIONS = 10
PAGE = 20


async def _read_ids_as_text(connection: asyncpg.Connection) -> None:
    """orjson does not know asyncpg's own UUID class, and its fallback would cost the raw side more."""
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")


async def _keep(_: Any) -> None:
    """Nothing to reset: nobody changes the connection's state."""


def make_app(pool: asyncpg.Pool) -> Starlette:
    async def list_reservations(request: Request) -> Response:
        limit = int(request.query_params.get("limit", PAGE))
        async with pool.acquire() as connection:
            rows = await connection.fetch(LIST, request.query_params["account_id"], limit + 1)
        body = {"data": [dict(row) for row in rows[:limit]], "next_cursor": None}
        return Response(orjson.dumps(body), media_type="application/json")

    return Starlette(routes=[Route("/reservations", list_reservations)])


async def serve(port: int, url: str, tenant: str) -> None:
    # Its own tenant for the whole connection: row security applies as it does to the service.
    settings = {"cowork.tenant": tenant, "jit": "off"}
    async with asyncpg.create_pool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, init=_read_ids_as_text, reset=_keep, server_settings=settings
    ) as pool:
        server = HttpServer(make_app(pool), host="127.0.0.1", port=port)
        await server.start()
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        await stopping.wait()
        await server.stop()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), os.environ["DATABASE_URL"], sys.argv[2]))
