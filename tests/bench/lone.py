"""One service's API alone in a process, over a cloned database; `python -m tests.bench.lone booking` is its process.

`SIGUSR1` starts a sampling profile in it, `SIGUSR2` ends it and writes the counts to the file that COWORK_BENCH_PROFILE
names.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvloop

from deploy.servers import HttpServer
from deploy.suite import settings_class
from shared.db import uuid7
from shared.settings import SuiteSettings
from tests.bench.profile import Profile
from tests.bench.stand import Stand
from tests.support.suites import free_port
from tests.support.testing import DatabaseUrls, TokenMint

READY_SECONDS = 30
KEYS = "COWORK_BENCH_KEYS"
PROFILE = "COWORK_BENCH_PROFILE"


class Process:
    """A child process that listens on a port of its own."""

    def __init__(self, module: str, *arguments: str, environment: dict[str, str]) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", module, str(self.port), *arguments]
        root = str(Path(__file__).resolve().parents[2])
        self._process = subprocess.Popen(
            command, env={"PATH": os.environ["PATH"], "PYTHONPATH": root, **environment}, stdout=sys.stderr
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ready(self) -> None:
        for _ in range(READY_SECONDS * 50):
            if self._process.poll() is not None:
                raise RuntimeError(f"ended with {self._process.returncode}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            except OSError:
                await asyncio.sleep(0.02)
        raise RuntimeError("does not answer")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def stop(self) -> None:
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, READY_SECONDS)


class LoneService(Process):
    """The API process of one service, with a mint of tokens that it accepts."""

    def __init__(
        self, stand: Stand, name: str, urls: DatabaseUrls, mint: TokenMint, keys: list[dict[str, Any]]
    ) -> None:
        self.mint = mint
        self.urls = urls
        self.profile = stand.folder / f"{name}-profile-{uuid7().hex}.json"
        prefix = f"COWORK_{name.upper()}_"
        super().__init__(
            "tests.bench.lone",
            name,
            environment={
                f"{prefix}DATABASE_URL": urls.app,
                f"{prefix}CLIENT_SECRET": uuid7().hex,
                f"{prefix}DIGEST_KEY": uuid7().hex + uuid7().hex,
                "COWORK_FILES_URL": (stand.folder / "files").as_uri(),
                KEYS: json.dumps(keys),
                PROFILE: str(self.profile),
            },
        )

    @classmethod
    async def start(cls, stand: Stand, name: str) -> "LoneService":
        mint = TokenMint()
        service = cls(stand, name, await stand.databases.clone(name), mint, await mint.fetch_keys())
        await service.ready()
        stand.closing(service.stop)
        return service


async def _serve(port: int, name: str) -> None:
    from importlib import import_module

    keys = json.loads(os.environ[KEYS])

    async def fetch_keys() -> list[dict[str, Any]]:
        return list(keys)

    settings = settings_class(name)(suite=SuiteSettings())
    service = import_module(f"services.{name}.app").create_service(settings, fetch_keys=fetch_keys)
    server = HttpServer(service.public_app(), host="127.0.0.1", port=port)
    await server.start()
    stopping, profile, loop = asyncio.Event(), Profile(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, profile.start)
    loop.add_signal_handler(signal.SIGUSR2, lambda: profile.write(Path(os.environ[PROFILE])))
    await stopping.wait()
    await server.stop()
    await service.close()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
