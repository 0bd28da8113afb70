"""A TCP proxy between services and RabbitMQ or PostgreSQL that is slow, silent or rude when told to."""

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from tests.faults.wires import Direction
from tests.support.rabbitmq import free_port

WIRES = Path(__file__).with_name("wires.py")


class Proxy:
    """Forwards `port` on loopback to a target; in a process of its own, so that it costs the load nothing but CPU.

    Every command is in force when it returns, and returns the traffic so far: `open` connections, `accepted` ones,
    `bytes` both ways, `resets` in mid-frame.
    """

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self._target = (target_host, target_port)
        self._process: asyncio.subprocess.Process | None = None
        self._talking = asyncio.Lock()

    def through(self, url: str) -> str:
        """Return `url` with this proxy in the place of its host and port."""
        parts = urlsplit(url)
        account, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}"))

    async def start(self) -> None:
        host, port = self._target
        command = [sys.executable, str(WIRES), str(self.port), host, str(port)]
        self._process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1)
        await self._answer()

    async def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    async def traffic(self) -> dict[str, int]:
        return await self._tell("traffic")

    async def latency(self, seconds: float) -> dict[str, int]:
        """Delay every byte by `seconds` in each direction, in order and at full throughput (TCP's own handshake not)."""
        return await self._tell("latency", seconds)

    async def stall(self) -> dict[str, int]:
        """Go half-open: connections stay and new ones are accepted, but nothing is forwarded, not even an end."""
        return await self._tell("stall")

    async def resume(self) -> dict[str, int]:
        """Forward again, what was sent meanwhile included."""
        return await self._tell("resume")

    async def reset_in_mid_frame(self, towards: Direction | None = None) -> dict[str, int]:
        """Reset each open connection at its next chunk (in one direction or any), the last bytes of it missing."""
        return await self._tell("cut_next", towards)

    async def reset(self) -> dict[str, int]:
        """Reset every open connection now."""
        return await self._tell("reset")

    async def refuse(self) -> dict[str, int]:
        """Refuse new connections; those that are open stay."""
        return await self._tell("refuse")

    async def accept(self) -> dict[str, int]:
        return await self._tell("accept")

    async def aim(self, port: int, host: str = "127.0.0.1") -> dict[str, int]:
        """Lead new connections to another target."""
        return await self._tell("aim", host, port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _tell(self, *command: Any) -> dict[str, int]:
        assert self._process is not None
        assert self._process.stdin is not None
        async with self._talking:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            return await self._answer()

    async def _answer(self) -> dict[str, int]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        if not line:
            raise RuntimeError("the proxy has ended; its error is on standard error")
        answer: dict[str, int] = json.loads(line)
        return answer
