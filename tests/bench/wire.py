"""A load generator that costs little of the cores it shares: prepared requests on kept-alive connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

KEY = b"%KEY%"


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def prepared(method: str, path: str, *, token: str | None = None, body: Any = None) -> bytes:
    """Return the bytes of a request; `Wires.send` puts a fresh Idempotency-Key into each that carries a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    content = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        lines += [
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            f"Idempotency-Key: {KEY.decode()}",
        ]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Wires:
    """Kept-alive HTTP/1.1 connections to one server, at most one request on each at a time."""

    def __init__(self) -> None:
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes, *, expect: int) -> Answer:
        """Send a prepared request. Raises RuntimeError for any other status than the one expected."""
        wire = self._free.pop()
        reader, writer = wire
        writer.write(request.replace(KEY, uuid4().hex.encode(), 1))
        head = await reader.readuntil(b"\r\n\r\n")
        answer = Answer(int(head[9:12]), await reader.readexactly(_length(head)))
        self._free.append(wire)
        if answer.status != expect:
            asked = request.partition(b"\r")[0].decode()
            raise RuntimeError(f"{asked}: {answer.status} {answer.body[:500].decode(errors='replace')}")
        return answer

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str, *, clients: int) -> AsyncIterator["Wires"]:
        """Open a connection per client to `http://host:port`; closed at the end."""
        wires, address = cls(), urlsplit(url)
        for _ in range(clients):
            wires._free.append(await asyncio.open_connection(address.hostname, address.port))
        opened = list(wires._free)
        try:
            yield wires
        finally:
            for _, writer in opened:
                writer.close()


def _length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + 15
    return int(head[start : head.index(b"\r\n", start)])
