"""The process behind a proxy: carries bytes between clients and one target, and misbehaves on command.

Commands come as JSON lines on standard input, each is answered by one line with the traffic so far; the process ends
when its standard input does.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import deque
from typing import Any, Literal

import uvloop

# What a direction holds back at most while it delays: two seconds of more than 100 MB/s.
HOLDS = 256 * 1024 * 1024
RESET = struct.pack("ii", 1, 0)
Direction = Literal["target", "client"]


class End(asyncio.Protocol):
    """One end of a wire: what it receives goes to its peer, what its peer received goes out here after the latency.

    Until it is connected it holds what it is to send.
    """

    def __init__(self, wires: "Wires", towards: Direction) -> None:
        self.wires = wires
        self.towards = towards
        self.peer: End | None = None
        self.transport: asyncio.Transport | None = None
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._is_full = self._has_ended = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wires.joined(self)

    def data_received(self, data: bytes) -> None:
        assert self.peer is not None
        self.wires.bytes += len(data)
        if self in self.wires.cutting:
            self.wires.cut(self, data)
            return
        self.peer.carry(data)

    def eof_received(self) -> bool:
        assert self.peer is not None
        self.peer.carry(b"")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.wires.forget(self)
        if self._timer:
            self._timer.cancel()
        assert self.peer is not None
        if error and not self.peer.is_gone:
            self.peer.reset()
        else:
            self.peer.carry(b"")

    def pause_writing(self) -> None:
        self._is_full = True
        self.throttle_peer()

    def resume_writing(self) -> None:
        self._is_full = False
        self.throttle_peer()

    def carry(self, data: bytes) -> None:
        """Send `data` in its order and time; no bytes mean the end."""
        if self._flows and not self._held and not self.wires.seconds:
            self._write(data)
            return
        self._held.append((self._loop.time() + self.wires.seconds, data))
        self._held_bytes += len(data)
        self.throttle_peer()
        self.flush()

    def flush(self) -> None:
        """Send what is due. The latency may shrink meanwhile; what was received first still goes first."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if not self._flows:
            return
        now = self._loop.time()
        while self._held and self._held[0][0] <= now + 0.0005:
            _, data = self._held.popleft()
            self._held_bytes -= len(data)
            self._write(data)
        if self._held:
            self._timer = self._loop.call_at(self._held[0][0], self.flush)
        self.throttle_peer()

    def throttle_peer(self) -> None:
        """Let the peer read only what this end can take."""
        assert self.peer is not None
        if self.peer.is_gone:
            return
        assert self.peer.transport is not None
        if self.wires.is_stalled or self._is_full or self._held_bytes > HOLDS:
            self.peer.transport.pause_reading()
        else:
            self.peer.transport.resume_reading()

    def reset(self) -> None:
        """Close with RST."""
        if not self.is_gone:
            assert self.transport is not None
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()

    @property
    def is_gone(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    @property
    def _flows(self) -> bool:
        return self.transport is not None and not self.wires.is_stalled

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self.wires.loop

    def _write(self, data: bytes) -> None:
        if self.is_gone:
            return
        assert self.transport is not None
        assert self.peer is not None
        if data:
            self.transport.write(data)
        elif self.peer.is_gone:
            self.transport.close()
        else:
            self._end()

    def _end(self) -> None:
        """Pass the end of one direction on; the wire is closed when both have ended."""
        assert self.transport is not None
        assert self.peer is not None
        self._has_ended = True
        self.transport.write_eof()
        if self.peer._has_ended:
            self.transport.close()


class Wires:
    """All connections of a proxy and how they behave now."""

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self.loop = asyncio.get_running_loop()
        self.port, self.target = port, target
        self.seconds = 0.0
        self.is_stalled = False
        self.cutting: set[End] = set()
        self.accepted = self.bytes = self.resets = 0
        self._ends: set[End] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._calling: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        if self._server is None:
            self._server = await self.loop.create_server(
                lambda: End(self, "client"), "127.0.0.1", self.port, backlog=512
            )

    async def refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    async def aim(self, host: str, port: int) -> None:
        self.target = (host, port)

    async def latency(self, seconds: float) -> None:
        self.seconds = seconds

    async def stall(self) -> None:
        self.is_stalled = True
        self._flowing.clear()
        self._renew()

    async def resume(self) -> None:
        self.is_stalled = False
        self._flowing.set()
        self._renew()

    async def cut_next(self, towards: Direction | None) -> None:
        self.cutting |= {end for end in self._ends if end.peer and towards in (None, end.peer.towards)}

    async def reset(self) -> None:
        for end in list(self._ends):
            end.reset()

    def cut(self, end: End, data: bytes) -> None:
        """Let all but the last three bytes through and reset both sides: no frame of AMQP or PostgreSQL is that short."""
        assert end.peer is not None
        self.cutting -= {end, end.peer}
        self.resets += 1
        assert end.transport is not None
        end.transport.pause_reading()
        if end.peer.transport and data[:-3]:
            end.peer.transport.write(data[:-3])
        # A moment later, so that the other side has read what came before the reset.
        self.loop.call_later(0.05, end.reset)
        self.loop.call_later(0.05, end.peer.reset)

    def forget(self, end: End) -> None:
        self._ends.discard(end)
        self.cutting.discard(end)

    def traffic(self) -> dict[str, int]:
        open_wires = sum(1 for end in self._ends if end.towards == "client")
        return {"open": open_wires, "accepted": self.accepted, "bytes": self.bytes, "resets": self.resets}

    def _renew(self) -> None:
        for end in self._ends:
            end.flush()
            end.throttle_peer()

    def joined(self, end: End) -> None:
        """Count a new end; a client's own calls the target. Both read only what the other can take."""
        self._ends.add(end)
        if end.towards == "client":
            end.peer = End(self, "target")
            end.peer.peer = end
            self.accepted += 1
            task = self.loop.create_task(self._call(end, end.peer))
            self._calling.add(task)
            task.add_done_callback(self._calling.discard)
        for one in (end, end.peer):
            assert one is not None
            one.flush()
            one.throttle_peer()

    async def _call(self, client: End, target: End) -> None:
        await self._flowing.wait()
        try:
            await self.loop.create_connection(lambda: target, *self.target)
        except OSError:
            client.reset()


async def serve(port: int, host: str, target_port: int) -> None:
    wires = Wires(port, (host, target_port))
    await wires.accept()
    commands = asyncio.StreamReader()
    await wires.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(json.dumps(wires.traffic()), flush=True)
    while line := await commands.readline():
        name, *arguments = json.loads(line)
        if name != "traffic":
            await getattr(wires, name)(*arguments)
        print(json.dumps(wires.traffic()), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
