"""A cheap HTTP/1.1 client: prepared request bytes over kept-alive connections, so that the load costs little itself."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(asyncio.Protocol):
    """One request at a time; answers carry a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[Answer]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(END_OF_HEAD)
        if end < 0 or self._answer is None:
            return
        head = self._received[:end].lower()
        body_at = end + len(END_OF_HEAD)
        length = _length(head)
        if len(self._received) < body_at + length:
            return
        answer = Answer(int(head[9:12]), self._received[body_at : body_at + length])
        self._received = self._received[body_at + length :]
        self._answer.set_result(answer)

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed before the answer"))

    def close(self) -> None:
        self._transport.close()


def _length(head: bytes) -> int:
    at = head.find(b"content-length:")
    if at < 0:
        return 0
    return int(head[at + 15 :].split(b"\r\n", 1)[0])


class KeepAlive:
    """A pool of as many connections as there are requests at once."""

    def __init__(self, base_url: str) -> None:
        self._address = urlsplit(base_url)
        self._idle: list[_Connection] = []

    def prepare(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        """Return a request's bytes; header names are written with underscores."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._address.netloc}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(content)}"]
        return "\r\n".join(lines).encode() + END_OF_HEAD + content

    async def send(self, request: bytes, *, expect: int | None = None) -> Answer:
        """Return the answer. Raises AssertionError when its status is not the expected one."""
        connection = self._idle.pop() if self._idle else await self._connect()
        if connection.is_closed:
            connection = await self._connect()
        answer = await connection.send(request)
        self._idle.append(connection)
        if expect is not None and answer.status != expect:
            raise AssertionError(f"{answer.status} instead of {expect}: {answer.body[:300]!r}")
        return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        host, port = self._address.hostname, self._address.port
        _, connection = await loop.create_connection(_Connection, host, port)
        return connection
