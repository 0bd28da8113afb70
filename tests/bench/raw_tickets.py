"""The raw limit of a ticket desk: Starlette and asyncpg, the same rows; `python -m tests.bench.raw_tickets PORT TENANT`.

No token is verified and nothing is checked; the database's own guards and row security apply to it as to the service.
"""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uuid_utils.compat import uuid7

from deploy.servers import HttpServer
from tests.support.suites import free_port
from tests.support.testing import SQLALCHEMY_SCHEME

CONNECTIONS = 8
OPEN = """
WITH opened AS (
 INSERT INTO tickets (id, tenant_id, requester_id, subject, category, priority, state, version)
 VALUES ($1, $2, $3, $4, $5, 'normal', 'new', 1) RETURNING id, tenant_id, requester_id),
 said AS (
 INSERT INTO replies (id, tenant_id, ticket_id, author_id, by_staff, body)
 SELECT $6, tenant_id, id, requester_id, false, $7 FROM opened),
 logged AS (
 INSERT INTO event_log (event_id, tenant_id, type, key, version, time, data, subject_ids)
 VALUES ($8, $2, 'helpdesk.ticket.opened.v1', $1::text, 1, now(), $9, ARRAY[$3]) RETURNING position, key),
 pointed AS (INSERT INTO outbox (position, key) SELECT position, key FROM logged)
INSERT INTO idempotency_keys (digest, tenant_id, account_id, body_digest, made_id) VALUES ($10, $2, $3, $11, $1::text)
"""
LIST = """
SELECT id, requester_id, assignee_id, subject, category, priority, state, location_id, reservation_id, invoice_id,
 created_at, first_replied_at, solved_at, closed_at FROM tickets ORDER BY created_at DESC, id DESC LIMIT 21
"""


def make_app(pool: asyncpg.Pool, tenant_id: UUID) -> Starlette:
    async def open_ticket(request: Request) -> Response:
        raw, key = await request.body(), request.headers["idempotency-key"]
        body, ticket_id, requester_id = orjson.loads(raw), uuid7(), UUID(request.query_params["requester_id"])
        event = {"tenant_id": str(tenant_id), "ticket_id": str(ticket_id), "requester_id": str(requester_id)}
        digests = (hashlib.sha256(key.encode()).digest(), hashlib.sha256(raw).digest())
        words = (ticket_id, tenant_id, requester_id, body["subject"], body["category"], uuid7(), body["body"])
        async with pool.acquire() as connection:
            await connection.execute(OPEN, *words, uuid7(), orjson.dumps(event).decode(), *digests)
        return Response(orjson.dumps({"id": ticket_id}), 201, media_type="application/json")

    async def list_tickets(_: Request) -> Response:
        async with pool.acquire() as connection:
            rows = await connection.fetch(LIST)
        body = {"data": [dict(row) for row in rows[:20]], "next_cursor": None}
        return Response(orjson.dumps(body, default=str), media_type="application/json")

    paths = [Route("/tickets", open_ticket, methods=["POST"]), Route("/tickets", list_tickets)]
    return Starlette(routes=paths)


async def _keep(_: Any) -> None:
    """Nothing to reset: nobody changes the connection's state."""


async def serve(port: int, tenant_id: UUID) -> None:
    settings = {"cowork.tenant": str(tenant_id), "jit": "off"}
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS, reset=_keep, server_settings=settings
    ) as pool:
        server = HttpServer(make_app(pool, tenant_id), host="127.0.0.1", port=port)
        await server.start()
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        await stopping.wait()
        await server.stop()


class RawTickets:
    """That server as a process of its own."""

    def __init__(self, app_url: str, tenant_id: UUID) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "DATABASE_URL": app_url.replace(SQLALCHEMY_SCHEME, "postgresql://"),
        }
        command = [sys.executable, "-m", "tests.bench.raw_tickets", str(port), str(tenant_id)]
        self._process = subprocess.Popen(command, env=environment)
        self._port = port

    async def ready(self) -> None:
        """Return when it answers. Raises RuntimeError when it has ended or takes too long."""
        for _ in range(1500):
            if self._process.poll() is not None:
                break
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return
        raise RuntimeError("the raw server does not answer")

    async def stop(self) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 30)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), UUID(sys.argv[2])))
