"""The proxy itself, between real sockets: what it promises a fault run is shown here once."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.proxy import Proxy

MEGABYTE = b"x" * 1_000_000
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """Echoes, unless told to keep what it gets; `got` is everything that has arrived."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.echoes = True
        self.reset = False
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while chunk := await reader.read(1 << 18):
                self.got += chunk
                if self.echoes:
                    writer.write(chunk)
        except ConnectionResetError:
            self.reset = True
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    listener = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listener.sockets[0].getsockname()[1]
    yield served
    listener.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port).start()
    yield proxy
    proxy.stop()


async def connect(proxy: Proxy) -> Pair:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def echo(pair: Pair, data: bytes, *, seconds: float = 5) -> bytes:
    pair[1].write(data)
    return await asyncio.wait_for(pair[0].readexactly(len(data)), seconds)


async def test_it_passes_everything_on_at_50_megabytes_a_second(server: Server, proxy: Proxy) -> None:
    server.echoes = False
    _, writer = await connect(proxy)
    started = time.monotonic()
    for _ in range(100):
        writer.write(MEGABYTE)
        await writer.drain()
    while len(server.got) < 100_000_000:
        await asyncio.sleep(0.01)
    assert time.monotonic() - started < 2
    writer.close()


async def test_an_end_passes_on_and_the_other_half_still_speaks(server: Server, proxy: Proxy) -> None:
    reader, writer = await connect(proxy)
    writer.write(b"last words")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b"last words"
    writer.close()


async def test_a_port_without_a_server_resets(proxy: Proxy, server: Server) -> None:
    lonely = Proxy(1).start()
    try:
        reader, _ = await connect(lonely)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
    finally:
        lonely.stop()


async def test_latency_delays_each_direction_and_keeps_order(proxy: Proxy) -> None:
    pair = await connect(proxy)
    await echo(pair, b"warm")
    proxy.latency(0.3)
    started = time.monotonic()
    await echo(pair, b"slow")
    assert 0.6 <= time.monotonic() - started < 1
    numbers = b"".join(number.to_bytes(4, "big") for number in range(10_000))
    for start in range(0, len(numbers), 400):
        pair[1].write(numbers[start : start + 400])
        await asyncio.sleep(0.002)
        # What is sent now would overtake what was sent before, if it could.
        proxy.latency(0.3 if start < 20_000 else 0.1)
    assert await asyncio.wait_for(pair[0].readexactly(len(numbers)), 5) == numbers
    proxy.latency(0)
    started = time.monotonic()
    await echo(pair, b"fast again")
    assert time.monotonic() - started < 0.1
    pair[1].close()


async def test_latency_does_not_limit_throughput(proxy: Proxy, server: Server) -> None:
    server.echoes = False
    _, writer = await connect(proxy)
    proxy.latency(0.5)
    started = time.monotonic()
    for _ in range(50):
        writer.write(MEGABYTE)
        await writer.drain()
    while len(server.got) < 50_000_000:
        await asyncio.sleep(0.01)
    assert 0.5 <= time.monotonic() - started < 1.5
    writer.close()


async def test_a_stall_accepts_and_keeps_connections_but_forwards_nothing(server: Server, proxy: Proxy) -> None:
    standing = await connect(proxy)
    await echo(standing, b"warm")
    proxy.stall()
    newcomer = await connect(proxy)
    for pair in (standing, newcomer):
        with pytest.raises(TimeoutError):
            await echo(pair, b"hello?", seconds=0.3)
    assert server.connections == 1
    assert bytes(server.got) == b"warm"
    proxy.resume()
    for pair in (standing, newcomer):
        assert await asyncio.wait_for(pair[0].readexactly(6), 5) == b"hello?"
        pair[1].close()


async def test_what_a_stall_has_made_half_open_is_forgotten_for_good(server: Server, proxy: Proxy) -> None:
    standing = await connect(proxy)
    await echo(standing, b"warm")
    proxy.stall()
    proxy.forget()
    with pytest.raises(TimeoutError):
        await echo(standing, b"hello?", seconds=0.3)
    assert bytes(server.got) == b"warm"
    newcomer = await connect(proxy)
    assert await echo(newcomer, b"hello") == b"hello"
    standing[1].close()
    newcomer[1].close()


async def test_a_reset_cuts_the_next_chunk_in_two_and_both_ends(server: Server, proxy: Proxy) -> None:
    server.echoes = False
    reader, writer = await connect(proxy)
    writer.write(b"whole")
    while server.got != b"whole":
        await asyncio.sleep(0.01)
    proxy.reset_in_mid_frame()
    writer.write(b"halfgone")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 5)
    # Each end learns of it in its own time.
    async with asyncio.timeout(5):
        while not server.reset:
            await asyncio.sleep(0.01)
    assert bytes(server.got) == b"wholehalf"
    newcomer = await connect(proxy)
    server.echoes = True
    assert await echo(newcomer, b"next") == b"next"
    newcomer[1].close()
