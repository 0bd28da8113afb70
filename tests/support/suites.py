"""The running suite that journeys talk to: embedded in this process, or seven processes over RabbitMQ."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from deploy.demo.client import Client
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import Names, provision
from deploy.embedded.secrets import load_or_make
from deploy.embedded.suite import EmbeddedSuite
from services.notify.api import outbox_token
from services.privacy.ledger.database import upgrade_ledger
from shared.events import SERVICES
from shared.migrate import upgrade
from tests.support.broker import delete_queues
from tests.support.commands import cowork
from tests.support.ports import free_port
from tests.support.postbox import Postbox, PostboxClient
from tests.support.warm import WarmProcess, may_be_warm

STOP_SECONDS = 60
FAST = {"notify": {"smtp_host": "127.0.0.1", "smtp_starttls": False}, "privacy": {"redrive_seconds": 2}}


class Suite(ABC):
    """What both have in common: addresses, clients, and a superuser's view of every database."""

    def __init__(self, folder: Path, postbox: Postbox) -> None:
        self.folder = folder
        self.postbox = postbox
        self.secrets = load_or_make(folder)
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))

    postgres: EmbeddedPostgres

    @abstractmethod
    def base_url(self, service: str) -> str: ...

    def client(self, slug: str) -> Client:
        token = outbox_token(self.secrets.digest_keys["notify"])
        return PostboxClient(self.base_url, self.http, slug=slug, outbox_token=token, postbox=self.postbox)

    def app_url(self, service: str) -> str:
        """The address that a service itself uses."""
        return Names.of(service).address(self.secrets.databases[service], self.postgres.port, owner=False)

    def owner_url(self, service: str) -> str:
        """The address that its migrations use."""
        return Names.of(service).address(self.secrets.databases[service], self.postgres.port, owner=True)

    async def superuser(self, service: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.postgres.admin_url, database=Names.of(service).database)

    async def query(self, service: str, query: str, *values: Any) -> list[Any]:
        connection = await self.superuser(service)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    @abstractmethod
    async def start_service(self, name: str) -> None: ...

    @abstractmethod
    async def kill_service(self, name: str) -> None: ...

    def logs(self) -> str:
        """Everything that was logged, PostgreSQL's log included."""
        paths = [*self.folder.rglob("*.log"), self.postgres.folder / "postgres.log"]
        return "".join(path.read_text(errors="replace") for path in paths)

    def unexpected(self) -> list[str]:
        """The last lines that services have logged for answers of 500."""
        marks = ('"request.failed"', '"database.error"')
        return [line for line in self.logs().splitlines() if any(mark in line for mark in marks)][-3:]

    def stored_files(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.folder / "files").rglob("*") if path.is_file())


def embedded_suite(folder: Path, postbox: Postbox) -> EmbeddedSuite:
    """Return the suite of a data folder, not started: mails go to the postbox, nothing waits for a disk."""
    overrides = {**FAST, "notify": {**FAST["notify"], "smtp_port": postbox.port}}
    return EmbeddedSuite(folder, port=0, durable=False, overrides=overrides)


class Embedded(Suite):
    """One process, local transport."""

    def __init__(self, folder: Path, postbox: Postbox) -> None:
        super().__init__(folder, postbox)
        self.suite = embedded_suite(folder, postbox)
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
    """Every service in processes of its own (one, or an API and a worker), RabbitMQ between them.

    `postgres` is a running server to use instead of one of our own; `by_role[service, role]` adds variables,
    and `modules[service, role]` names the module to run instead of the command. `worker-2` is one more worker. `warm`
    processes start faster, but share memory with each other: not for figures.
    """

    def __init__(
        self,
        folder: Path,
        postbox: Postbox,
        amqp_url: str,
        *,
        postgres: EmbeddedPostgres | None = None,
        roles: Sequence[str] = ("all",),
        durable: bool = False,
        warm: bool = False,
    ) -> None:
        super().__init__(folder, postbox)
        self._is_warm = warm
        self.roles = tuple(roles)
        self.modules: dict[tuple[str, str], str] = {}
        self.by_role: dict[tuple[str, str], dict[str, str]] = {}
        self._amqp_url = amqp_url
        self.namespace = f"t{secrets.token_hex(4)}"
        self._ports = {(name, role): (free_port(), free_port()) for name in SERVICES for role in self.roles}
        self._running: dict[tuple[str, str], subprocess.Popen[bytes] | WarmProcess] = {}
        self._is_guest = postgres is not None
        self.postgres = postgres or EmbeddedPostgres(folder / "postgres", max_connections=200, durable=durable)
        if postgres is None:
            # While the server is down, no client's own connection may take its port.
            self.postgres.folder.mkdir(parents=True, exist_ok=True)
            (self.postgres.folder / "port").write_text(str(free_port()))

    def base_url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._ports[service, self.roles[0]][0]}"

    def internal_url(self, service: str, role: str | None = None) -> str:
        """Where a process answers `/internal/…`, `/readyz` and `/metrics`."""
        return f"http://127.0.0.1:{self._ports[service, role or self.roles[0]][1]}"

    def pids(self, *services: str) -> list[int]:
        """Return the process ids of these services, or of all."""
        return [process.pid for (name, _), process in self._running.items() if not services or name in services]

    def dead(self) -> list[str]:
        """Return the processes that have ended by themselves."""
        return [f"{name} {role}" for (name, role), process in self._running.items() if process.poll() is not None]

    async def start(self) -> None:
        if not self._is_guest:
            await self.postgres.start()
        await provision(self.postgres.admin_url, self.secrets.databases)
        for name in SERVICES:
            await upgrade(name, self._address(name, owner=True))
        await upgrade_ledger(self._address("ledger", owner=True))
        await asyncio.to_thread(self.declare_topology)
        for name in SERVICES:
            await self.start_service(name, wait=False)
        for name in SERVICES:
            await self.ready(name)

    def declare_topology(self) -> None:
        cowork("topology", **self.environment_of("identity")).check_returncode()

    async def stop(self) -> None:
        stuck = await self.stop_processes()
        await delete_queues(self._amqp_url, self.namespace, SERVICES)
        if not self._is_guest:
            await self.postgres.stop()
        await self.http.close()
        if stuck:
            raise RuntimeError(f"did not stop within {STOP_SECONDS} s: {stuck}")

    async def stop_processes(self) -> list[str]:
        """Stop every process in order; return those that had to be killed."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        stuck = []
        for (name, role), process in self._running.items():
            try:
                await asyncio.to_thread(process.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                stuck.append(f"{name} {role}")
                process.kill()
        self._running.clear()
        return stuck

    async def start_service(self, name: str, *, role: str | None = None, wait: bool = True, **variables: str) -> None:
        """Start a service's processes, or the one of a role; `variables` are added to their environment once."""
        for one in [role] if role else self.roles:
            public, internal = self._ports.setdefault((name, one), (free_port(), free_port()))
            module = self.modules.get((name, one), "deploy.cli")
            command = ["serve", name, "--role", one.split("-")[0]]
            command += ["--port", str(public), "--internal-port", str(internal)]
            environment = {**self.environment_of(name), **self.by_role.get((name, one), {}), **variables}
            self._running[name, one] = self._start_process(name, module, command, environment)
        if wait:
            await self.ready(name, role=role)

    def _start_process(
        self, name: str, module: str, command: list[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes] | WarmProcess:
        path = self.folder / f"{name}.log"
        if self._is_warm and module == "deploy.cli" and may_be_warm(environment):
            return WarmProcess(command, environment, path)
        with path.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", module, *command], env=environment, stderr=log, stdout=log)

    def crash_points(self, name: str, role: str) -> str:
        """Return the crash points that a process always starts with."""
        return self.by_role.get((name, role), {}).get("COWORK_CRASH", "")

    async def kill_service(self, name: str, *, role: str | None = None) -> None:
        for one in [role] if role else self.roles:
            process = self._running.pop((name, one))
            process.kill()
            await asyncio.to_thread(process.wait, 30)

    async def stop_service(self, name: str, *, role: str) -> None:
        """Stop a process in order. Raises TimeoutExpired when it does not end within a minute."""
        process = self._running.pop((name, role))
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 60)

    def process(self, name: str, *, role: str | None = None) -> subprocess.Popen[bytes] | WarmProcess:
        return self._running[name, role or self.roles[0]]

    async def ready(self, name: str, *, role: str | None = None) -> None:
        """Wait until the processes answer that they are ready. Raises RuntimeError with the log's end when one ends."""
        for one in [role] if role else self.roles:
            await self._ready(name, one)

    async def _ready(self, name: str, role: str) -> None:
        for _ in range(400):
            if self._running[name, role].poll() is not None:
                raise RuntimeError((self.folder / f"{name}.log").read_text()[-2000:])
            try:
                async with self.http.get(f"{self.internal_url(name, role)}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)
        raise RuntimeError(f"{name} does not become ready")

    def _address(self, name: str, *, owner: bool) -> str:
        return Names.of(name).address(self.secrets.databases[name], self.postgres.port, owner=owner)

    def environment_of(self, name: str) -> dict[str, str]:
        """Return the whole environment of a service's processes, as an operator would configure them."""
        prefix = f"COWORK_{name.upper()}_"
        internal = {service: self.internal_url(service) for service in SERVICES}
        own = {
            "DATABASE_URL": self._address(name, owner=False),
            "CLIENT_SECRET": self.secrets.clients[name],
            "DIGEST_KEY": self.secrets.digest_keys[name],
            "KEY_SECRET": self.secrets.key_secret,
            "OPERATOR_SECRET": self.secrets.operator_secret,
            "CLIENT_DIGESTS": json.dumps(self.secrets.client_digests()),
            "LEDGER_KEY": self.secrets.ledger_key,
            "LEDGER_URL": self._address("ledger", owner=False),
            "REDRIVE_SECONDS": "2",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self.postbox.port),
            "SMTP_STARTTLS": "false",
            "OUTBOX_PAGE": "true",
        }
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            "COWORK_AMQP_URL": self._amqp_url,
            "COWORK_NAMESPACE": self.namespace,
            "COWORK_PUBLIC_URL": "http://127.0.0.1:8000",
            "COWORK_FILES_URL": (self.folder / "files").as_uri(),
            "COWORK_INTERNAL_URLS": json.dumps(internal),
            **{prefix + key: value for key, value in own.items()},
        }
