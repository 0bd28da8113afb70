"""The running suite that journeys talk to: embedded in this process, or seven processes over RabbitMQ."""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from support.broker import delete_queues

from deploy.demo.client import Client
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import Names, provision
from deploy.embedded.secrets import load_or_make
from deploy.embedded.suite import EmbeddedSuite
from services.notify.api import outbox_token
from shared.events import SERVICES
from shared.migrate import upgrade

FAST = {"notify": {"smtp_host": "127.0.0.1", "smtp_starttls": False}, "privacy": {"redrive_seconds": 2}}


class Suite:
    """What both have in common: addresses, clients, and a superuser's view of every database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = load_or_make(folder)
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))

    postgres: EmbeddedPostgres

    def base_url(self, service: str) -> str:
        raise NotImplementedError

    def client(self, slug: str) -> Client:
        token = outbox_token(self.secrets.digest_keys["notify"])
        return Client(self.base_url, self.http, slug=slug, outbox_token=token)

    def app_url(self, service: str) -> str:
        """The address that a service itself uses."""
        names, password = Names.of(service), self.secrets.databases[service][1]
        return f"postgresql+asyncpg://{names.app}:{password}@127.0.0.1:{self.postgres.port}/{names.database}"

    async def superuser(self, service: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.postgres.admin_url, database=Names.of(service).database)

    async def query(self, service: str, query: str, *values: Any) -> list[Any]:
        connection = await self.superuser(service)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def start_service(self, name: str) -> None:
        raise NotImplementedError

    async def kill_service(self, name: str) -> None:
        raise NotImplementedError

    def logs(self) -> str:
        """Everything that was logged, PostgreSQL's log included."""
        paths = [*self.folder.rglob("*.log"), self.postgres.folder / "postgres.log"]
        return "".join(path.read_text(errors="replace") for path in paths)

    def stored_files(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.folder / "files").rglob("*") if path.is_file())


class Embedded(Suite):
    """One process, local transport."""

    def __init__(self, folder: Path, smtp_port: int) -> None:
        super().__init__(folder)
        overrides = {**FAST, "notify": {**FAST["notify"], "smtp_port": smtp_port}}
        self.suite = EmbeddedSuite(folder, port=0, durable=False, overrides=overrides)
        self.postgres = self.suite.postgres

    def base_url(self, service: str) -> str:
        return self.suite.url

    async def start(self) -> None:
        await self.suite.start()

    async def stop(self) -> None:
        await self.suite.stop()
        await self.http.close()

    async def start_service(self, name: str) -> None:
        self.suite.start_worker(name)

    async def kill_service(self, name: str) -> None:
        await self.suite.stop_worker(name)


class Processes(Suite):
    """Every service in its own process, RabbitMQ between them."""

    def __init__(self, folder: Path, smtp_port: int, amqp_url: str) -> None:
        super().__init__(folder)
        self._smtp_port = smtp_port
        self._amqp_url = amqp_url
        self._namespace = f"t{secrets.token_hex(4)}"
        self._ports = {name: (free_port(), free_port()) for name in SERVICES}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.postgres = EmbeddedPostgres(folder / "postgres", max_connections=150, durable=False)

    def base_url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._ports[service][0]}"

    async def start(self) -> None:
        await self.postgres.start()
        await provision(self.postgres.admin_url, self.secrets.databases)
        for name in SERVICES:
            await upgrade(name, self._address(name, owner=True))
        await asyncio.to_thread(self._topology)
        for name in SERVICES:
            await self.start_service(name, wait=False)
        for name in SERVICES:
            await self._ready(name)

    def _topology(self) -> None:
        command = [sys.executable, "-m", "deploy.cli", "topology"]
        subprocess.run(command, env=self._environment("identity"), check=True, capture_output=True)

    async def stop(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            await asyncio.to_thread(process.wait, 30)
        await delete_queues(self._amqp_url, self._namespace, SERVICES)
        await self.postgres.stop()
        await self.http.close()

    async def start_service(self, name: str, *, wait: bool = True) -> None:
        public, internal = self._ports[name]
        command = [
            sys.executable,
            "-m",
            "deploy.cli",
            "serve",
            name,
            "--port",
            str(public),
            "--internal-port",
            str(internal),
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(command, env=self._environment(name), stderr=log, stdout=log)
        if wait:
            await self._ready(name)

    async def kill_service(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        await asyncio.to_thread(process.wait, 30)

    async def _ready(self, name: str) -> None:
        for _ in range(400):
            if self._running[name].poll() is not None:
                raise RuntimeError((self.folder / f"{name}.log").read_text()[-2000:])
            try:
                async with self.http.get(f"http://127.0.0.1:{self._ports[name][1]}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
        raise RuntimeError(f"{name} does not become ready")

    def _address(self, name: str, *, owner: bool) -> str:
        names, (owner_password, app_password) = Names.of(name), self.secrets.databases[name]
        role, password = (names.owner, owner_password) if owner else (names.app, app_password)
        return f"postgresql+asyncpg://{role}:{password}@127.0.0.1:{self.postgres.port}/{names.database}"

    def _environment(self, name: str) -> dict[str, str]:
        prefix = f"COWORK_{name.upper()}_"
        internal = {service: f"http://127.0.0.1:{ports[1]}" for service, ports in self._ports.items()}
        own = {
            "DATABASE_URL": self._address(name, owner=False),
            "CLIENT_SECRET": self.secrets.clients[name],
            "DIGEST_KEY": self.secrets.digest_keys[name],
            "KEY_SECRET": self.secrets.key_secret,
            "OPERATOR_SECRET": self.secrets.operator_secret,
            "CLIENT_DIGESTS": json.dumps(self.secrets.client_digests()),
            "LEDGER_KEY": self.secrets.ledger_key,
            "REDRIVE_SECONDS": "2",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self._smtp_port),
            "SMTP_STARTTLS": "false",
            "OUTBOX_PAGE": "true",
        }
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "COWORK_AMQP_URL": self._amqp_url,
            "COWORK_NAMESPACE": self._namespace,
            "COWORK_PUBLIC_URL": "http://127.0.0.1:8000",
            "COWORK_FILES_URL": (self.folder / "files").as_uri(),
            "COWORK_INTERNAL_URLS": json.dumps(internal),
            **{prefix + key: value for key, value in own.items()},
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
