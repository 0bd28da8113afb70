"""The proxy is transparent and fast until told otherwise, and then exactly as bad as told."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
import pytest

from tests.faults.proxy import Proxy
from tests.support.rabbitmq import free_port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MIB = 1024 * 1024


class Target:
    """A server that answers every byte with itself and keeps what it received and how each connection ended."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received = bytearray()
        self.ends: list[str] = []

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(self._echo, "127.0.0.1", self.port, limit=4 * MIB)

    async def has_ended_by(self, *ends: str) -> bool:
        return self.ends == list(ends)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(MIB):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.ends.append("end")
        except ConnectionResetError:
            self.ends.append("reset")
        finally:
            writer.close()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    target = Target()
    server = await target.start()
    yield target
    server.close()


@pytest.fixture
async def proxy(target: Target) -> AsyncIterator[Proxy]:
    async with Proxy(target.port) as proxy:
        yield proxy


async def connect(proxy: Proxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port, limit=4 * MIB)


async def exchange(streams: Streams, data: bytes, *, seconds: float = 20) -> float:
    """Send `data`, read it back and return how long that took."""
    reader, writer = streams
    began = time.monotonic()
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), seconds) == data
    return time.monotonic() - began


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.01)


async def is_empty(proxy: Proxy) -> bool:
    return (await proxy.traffic())["open"] == 0


async def test_bytes_pass_unchanged_and_fast_both_ways(proxy: Proxy) -> None:
    streams, data = await connect(proxy), os.urandom(32 * MIB)
    seconds = min([await exchange(streams, data) for _ in range(3)])
    # There and back, in and out of this process too: the proxy carries more than the 50 MB/s that are asked of it.
    assert 2 * len(data) / seconds > 50_000_000
    assert (await proxy.traffic())["bytes"] == 3 * 2 * len(data)


async def test_an_end_is_passed_on_and_the_other_direction_stays_open(proxy: Proxy, target: Target) -> None:
    reader, writer = await connect(proxy)
    writer.write(b"last words")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b"last words"
    await until(lambda: target.has_ended_by("end"))
    await until(lambda: is_empty(proxy))


async def test_latency_delays_each_direction_and_keeps_order_and_throughput(proxy: Proxy) -> None:
    streams, data = await connect(proxy), os.urandom(16 * MIB)
    await proxy.latency(0.5)
    assert 1.0 <= await exchange(streams, b"ping") < 1.5
    assert await exchange(streams, data) < 1.0 + 2 * 16 / 25
    streams[1].write(b"a" * 1000)
    await asyncio.sleep(0.1)
    await proxy.latency(0)
    streams[1].write(b"b" * 1000)
    assert await asyncio.wait_for(streams[0].readexactly(2000), 5) == b"a" * 1000 + b"b" * 1000
    assert await exchange(streams, b"ping") < 0.3


async def test_stalled_connections_hang_and_go_on_afterwards(proxy: Proxy, target: Target) -> None:
    old = await connect(proxy)
    await exchange(old, b"before")
    await proxy.stall()
    old[1].write(b"meanwhile")
    new = await asyncio.wait_for(connect(proxy), 2)
    new[1].write(b"new")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(old[0].read(1), 0.5)
    assert (bytes(target.received), target.ends) == (b"before", [])
    await proxy.resume()
    assert await asyncio.wait_for(old[0].readexactly(9), 5) == b"meanwhile"
    assert await asyncio.wait_for(new[0].readexactly(3), 5) == b"new"


async def test_a_stalled_proxy_does_not_tell_that_the_client_is_gone(proxy: Proxy, target: Target) -> None:
    streams = await connect(proxy)
    await exchange(streams, b"before")
    await proxy.stall()
    streams[1].transport.abort()
    await asyncio.sleep(0.3)
    assert target.ends == []
    await proxy.resume()
    await until(lambda: target.has_ended_by("end"))


async def test_a_frame_is_cut_and_both_sides_are_reset(proxy: Proxy, target: Target) -> None:
    reader, writer = await connect(proxy)
    await exchange((reader, writer), b"whole")
    await proxy.reset_in_mid_frame()
    writer.write(b"a frame that never ends")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 5)
    await until(lambda: target.has_ended_by("reset"))
    assert bytes(target.received) == b"wholea frame that never e"
    assert (await proxy.traffic())["resets"] == 1
    assert await exchange(await connect(proxy), b"the next connection is whole") < 5


async def test_the_answer_can_be_cut_instead_of_the_question(proxy: Proxy, target: Target) -> None:
    reader, writer = await connect(proxy)
    await exchange((reader, writer), b"whole")
    await proxy.reset_in_mid_frame("client")
    writer.write(b"question")
    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"quest"
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 5)
    assert bytes(target.received) == b"wholequestion"


async def test_new_connections_are_refused_and_old_ones_stay(proxy: Proxy) -> None:
    old = await connect(proxy)
    await exchange(old, b"before")
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await exchange(old, b"still")
    await proxy.accept()
    await exchange(await connect(proxy), b"again")
    await proxy.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(old[0].read(), 5)


async def test_a_target_that_refuses_is_a_reset_and_another_one_can_take_its_place(target: Target) -> None:
    async with Proxy(free_port()) as proxy:
        with pytest.raises(ConnectionResetError):
            reader, _ = await connect(proxy)
            await asyncio.wait_for(reader.read(), 5)
        await proxy.aim(target.port)
        await exchange(await connect(proxy), b"hello")


async def test_amqp_passes_and_notices_a_cut_frame(amqp_url: str) -> None:
    port = aio_pika.connection.make_url(amqp_url).port
    assert port is not None
    async with Proxy(port) as proxy:
        connection = await aio_pika.connect(proxy.through(amqp_url), timeout=10)
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(b"whole"), queue.name)
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *_: closed.set())
        await proxy.reset_in_mid_frame("target")
        with pytest.raises((aio_pika.exceptions.AMQPError, ConnectionError)):
            await channel.default_exchange.publish(aio_pika.Message(b"cut"), queue.name, timeout=10)
        await asyncio.wait_for(closed.wait(), 10)
        assert (await proxy.traffic())["resets"] == 1
