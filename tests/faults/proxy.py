"""A TCP proxy of our own: transparent, slow, half-open, or cut in mid-frame, as a fault asks.

It runs in a process of its own (`python -m tests.faults.proxy PORT TARGET`, orders on its standard input), so that the
load of a fault run does not pay for it.
"""

import asyncio
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import uvloop

from tests.support.ports import free_port

# Long enough for the kernel to have sent what was written, short enough for nobody to write more.
CUT_SECONDS = 0.02
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
END = b""


class Proxy:
    """`start()` … `stop()`; clients connect to `port`. Orders are carried out when their method returns."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.proxy", str(self.port), str(self._target)]
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._await_done()
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=10)

    def latency(self, seconds: float) -> None:
        """Deliver everything that comes from now on this much later, in each direction; zero: at once."""
        self._order("latency", str(seconds))

    def stall(self) -> None:
        """Keep every connection and accept new ones, but forward nothing: neither bytes nor an end."""
        self._order("stall")

    def resume(self) -> None:
        """Forward what has come meanwhile, and everything that follows."""
        self._order("resume")

    def forget(self) -> None:
        """End a stall for new connections only: those that stand stay half-open for good, as behind a router that restarts."""
        self._order("forget")

    def reset_in_mid_frame(self) -> None:
        """Forward a part of the next chunk of each connection that stands, then reset both of its ends."""
        self._order("reset_in_mid_frame")

    def _order(self, *words: str) -> None:
        assert self._process is not None, "the proxy was not started"
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        self._await_done()

    def _await_done(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError("the proxy has ended")


class Way(asyncio.Protocol):
    """What one end of a link receives, on its way to the other: in order, each chunk at its own time."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._held: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None
        self.has_ended = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        self._hold(data)

    def eof_received(self) -> bool:
        self._hold(END)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._link.lost(self, error)

    def pause_writing(self) -> None:
        self._link.across(self).let_read(False)

    def resume_writing(self) -> None:
        self._link.across(self).let_read(self._link.is_open)

    def let_read(self, is_let: bool) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if is_let:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _hold(self, chunk: bytes) -> None:
        due = self._loop.time() + self._link.network.latency
        # Never before its predecessor, even when the latency has fallen meanwhile.
        self._held.append((max(due, self._held[-1][0]) if self._held else due, chunk))
        self.pump()

    def pump(self) -> None:
        """Forward whatever is due, and come back for the rest."""
        target = self._link.across(self).transport
        if target is not None and target.is_closing():
            # Nobody reads any more what is still on its way.
            self._held.clear()
        while self._held and self._link.is_open and target is not None and self._held[0][0] <= self._loop.time():
            self._link.forward(self, target, self._held.popleft()[1])
        if self._held and self._timer is None:
            self._timer = self._loop.call_at(self._held[0][0], self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._link.is_open:
            self.pump()


class Link:
    """A client's connection and ours to the target."""

    def __init__(self, network: "Network") -> None:
        self.network = network
        self.client, self.server = Way(self), Way(self)
        self.is_forgotten = False
        self.is_doomed = False
        self._is_cut = False
        network.links.add(self)

    @property
    def is_open(self) -> bool:
        return not (self.network.is_stalled or self.is_forgotten or self._is_cut)

    def across(self, way: Way) -> Way:
        return self.server if way is self.client else self.client

    def made(self, way: Way) -> None:
        way.let_read(self.is_open)
        if way is self.client:
            self.network.connect(self)
        else:
            self.client.pump()

    def lost(self, way: Way, error: Exception | None) -> None:
        """A reset passes on at once; an orderly end has passed on as the last chunk."""
        if error is not None or self._is_cut:
            self.reset()
        if all(one.transport is None or one.transport.is_closing() for one in (self.client, self.server)):
            self.network.links.discard(self)

    def forward(self, way: Way, target: asyncio.Transport, chunk: bytes) -> None:
        if self.is_doomed and chunk:
            self._is_cut = True
            target.write(chunk[: len(chunk) // 2])
            asyncio.get_running_loop().call_later(CUT_SECONDS, self.reset)
        elif chunk:
            target.write(chunk)
        else:
            self._end(way, target)

    def _end(self, way: Way, target: asyncio.Transport) -> None:
        way.has_ended = True
        if not self.across(way).has_ended:
            target.write_eof()
            return
        for one in (self.client, self.server):
            assert one.transport is not None
            one.transport.close()

    def reset(self) -> None:
        """Close both ends with RST: no end says goodbye, and what is on its way is gone."""
        for one in (self.client, self.server):
            if one.transport is not None and not one.transport.is_closing():
                connection = one.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                one.transport.abort()

    def let_flow(self) -> None:
        """Read and forward, or neither: what nobody reads fills the sender's buffers, as on a dead line."""
        for way in (self.client, self.server):
            way.let_read(self.is_open)
            if self.is_open:
                way.pump()


class Network:
    """Every link of one proxy, and what befalls them; its methods are the orders."""

    def __init__(self, target: int) -> None:
        self.links: set[Link] = set()
        self.is_stalled = False
        self.latency = 0.0
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._connecting: set[asyncio.Task[None]] = set()

    def accept(self) -> Way:
        return Link(self).client

    def connect(self, link: Link) -> None:
        task = asyncio.create_task(self._connect(link))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, link: Link) -> None:
        await self._flows.wait()
        try:
            await asyncio.get_running_loop().create_connection(lambda: link.server, "127.0.0.1", self._target)
        except OSError:
            link.reset()

    def set_latency(self, seconds: str) -> None:
        self.latency = float(seconds)

    def stall(self) -> None:
        self.is_stalled = True
        self._flows.clear()
        self._let_flow()

    def resume(self) -> None:
        self.is_stalled = False
        self._flows.set()
        self._let_flow()

    def forget(self) -> None:
        for link in self.links:
            link.is_forgotten = link.server.transport is not None
        self.resume()

    def reset_in_mid_frame(self) -> None:
        for link in self.links:
            link.is_doomed = True

    def _let_flow(self) -> None:
        for link in list(self.links):
            link.let_flow()


async def serve(port: int, target: int) -> None:
    """Serve and obey until the standard input ends."""
    loop = asyncio.get_running_loop()
    network = Network(target)
    server = await loop.create_server(network.accept, "127.0.0.1", port)
    orders: dict[str, Callable[..., Any]] = {
        "latency": network.set_latency,
        "stall": network.stall,
        "resume": network.resume,
        "forget": network.forget,
        "reset_in_mid_frame": network.reset_in_mid_frame,
    }
    sys.stdout.write("done\n")
    sys.stdout.flush()
    async with server:
        while line := await asyncio.to_thread(sys.stdin.readline):
            order, *values = line.split()
            orders[order](*values)
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
