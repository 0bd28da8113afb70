"""The whole suite in one process: PostgreSQL beside it, all services behind one port, the local transport or RabbitMQ."""

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from starlette.types import ASGIApp

from deploy.backup.gate import refuse_half_restored
from deploy.embedded.folder import make_private
from deploy.embedded.gateway import Gateway, InternalGateway
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import Names, provision
from deploy.embedded.secrets import Secrets, load_or_make
from deploy.servers import HttpServer
from deploy.suite import make_service, make_transport, settings_class, subscriptions
from deploy.topology import declare
from services.privacy.ledger.database import upgrade_ledger
from shared.bus.amqp import BROKER_ERRORS
from shared.events import SERVICES
from shared.migrate import ROOT, upgrade
from shared.service import Service, Worker
from shared.settings import ServiceSettings, SuiteSettings

# Seven services; API and worker share each pool. PostgreSQL is sized to it.
POOL_SIZE = 8
# Beside them: the ledger's one, an operator's commands, a backup with a snapshot of every database.
MAX_CONNECTIONS = len(SERVICES) * (POOL_SIZE + 1) + 25


class EmbeddedSuite:
    """`await start()` … `await stop()`. Data, files and secrets live in `folder` and survive restarts."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 8000,
        amqp_url: str | None = None,
        durable: bool = True,
        overrides: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """`overrides` are settings by service (a mail server for notify); port 0 takes a free one."""
        self.folder = folder
        self._overrides = overrides or {}
        self._port = port
        self._amqp_url = amqp_url
        self.secrets: Secrets = load_or_make(folder)
        self.postgres = EmbeddedPostgres(folder / "postgres", max_connections=MAX_CONNECTIONS, durable=durable)
        self.services: dict[str, Service] = {}
        self._workers: dict[str, Worker] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._servers: list[HttpServer] = []
        self._transport: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def configuration(self) -> tuple[SuiteSettings, dict[str, ServiceSettings], dict[str, str]]:
        """Return what the suite runs with, its services' settings and the owners' addresses by database; nothing is started.

        The internal port is known to the running process only, so `internal_urls` lead nowhere.
        """
        remembered = self.postgres.folder / "port"
        self.postgres.port = self.postgres.port or (int(remembered.read_text()) if remembered.exists() else 0)
        suite = self._suite_settings(internal_port=0)
        services = {name: self._settings(name, suite) for name in SERVICES}
        return suite, services, {name: self._address(name, owner=True) for name in self.secrets.databases}

    async def start(self) -> None:
        """Start PostgreSQL, migrate what is not current, and serve. Raises PostgresError, OSError when the port is taken."""
        self.postgres.lock.take()
        # The ports are taken before anything is started, and before the services are made: their settings carry the addresses.
        public, internal = _Late(), _Late()
        servers = [
            HttpServer(public, host="127.0.0.1", port=self._port),
            HttpServer(internal, host="127.0.0.1", port=0),
        ]
        self._port = servers[0].port
        await self.postgres.start()
        await self._prepare_databases()
        # PostgreSQL's user has to pass the data folder where we are root; what members have sent is not its business.
        make_private(self.folder / "files")
        suite = self._suite_settings(internal_port=servers[1].port)
        self.services = {name: make_service(name, self._settings(name, suite)) for name in SERVICES}
        public.app = Gateway({name: service.public_app() for name, service in self.services.items()})
        internal.app = InternalGateway({name: service.internal_app() for name, service in self.services.items()})
        self._transport = make_transport(suite, self.services)
        await self._declare_topology(suite)
        for server in servers:
            await server.start()
            self._servers.append(server)
        for name in SERVICES:
            self.start_worker(name)
        await self._until_consuming()

    async def stop(self) -> None:
        """Stop HTTP, then the workers in order, then PostgreSQL."""
        for server in self._servers:
            await server.stop()
        await asyncio.gather(*(self.stop_worker(name) for name in list(self._workers)))
        if self._transport is not None:
            await self._transport.close()
        await asyncio.gather(*(service.close() for service in self.services.values()))
        await self.postgres.stop()

    def start_worker(self, name: str) -> None:
        """Start a service's events and jobs."""
        self._workers[name] = self.services[name].worker(self._transport)
        self._running[name] = asyncio.create_task(self._workers[name].run())

    async def stop_worker(self, name: str) -> None:
        """Stop a service's events and jobs; its API goes on."""
        await self._workers.pop(name).stop()
        await asyncio.gather(self._running.pop(name), return_exceptions=True)

    async def failed(self) -> None:
        """Return when a worker has ended by itself; raises what ended it."""
        done, _ = await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _until_consuming(self) -> None:
        while not all(worker.bus.is_consuming for worker in self._workers.values()):
            if any(task.done() for task in self._running.values()):
                await self.failed()
            await asyncio.sleep(0.01)

    async def _prepare_databases(self) -> None:
        """Provision and migrate, unless the code is the one that did it last time. Raises RestoreUnfinished."""
        await refuse_half_restored(self.postgres.admin_url)
        marker, wanted = self.folder / "schema", _schema_digest()
        if marker.exists() and marker.read_text() == wanted:
            return
        await provision(self.postgres.admin_url, self.secrets.databases)
        for name in SERVICES:
            await upgrade(name, self._address(name, owner=True))
        await upgrade_ledger(self._address("ledger", owner=True))
        marker.write_text(wanted)

    async def _declare_topology(self, suite: SuiteSettings) -> None:
        """Declare every queue and binding before anybody publishes. Where it is down, consumers declare later what is missing."""
        if self._amqp_url is None:
            return
        with contextlib.suppress(*BROKER_ERRORS):
            await declare(self._amqp_url, namespace=suite.namespace, subscriptions=subscriptions())

    def _suite_settings(self, *, internal_port: int) -> SuiteSettings:
        return SuiteSettings(
            amqp_url=SecretStr(self._amqp_url) if self._amqp_url else None,
            public_url=self.url,
            files_url=(self.folder / "files").resolve().as_uri(),
            internal_urls={name: f"http://127.0.0.1:{internal_port}/{name}" for name in SERVICES},
        )

    def _settings(self, name: str, suite: SuiteSettings) -> Any:
        special: dict[str, dict[str, Any]] = {
            "identity": {
                "key_secret": self.secrets.key_secret,
                "operator_secret": self.secrets.operator_secret,
                "client_digests": self.secrets.client_digests(),
            },
            "privacy": {
                "ledger_key": self.secrets.ledger_key,
                "ledger_url": self._address("ledger", owner=False),
            },
            "notify": {"outbox_page": True},
        }
        return settings_class(name)(
            suite=suite,
            database_url=SecretStr(self._address(name, owner=False)),
            client_secret=SecretStr(self.secrets.clients[name]),
            digest_key=SecretStr(self.secrets.digest_keys[name]),
            pool_size=POOL_SIZE,
            **{**special.get(name, {}), **self._overrides.get(name, {})},
        )

    def _address(self, name: str, *, owner: bool) -> str:
        return Names.of(name).address(self.secrets.databases[name], self.postgres.port, owner=owner)

    def memory_bytes(self) -> int:
        """Return the memory of this process and of PostgreSQL once freed memory is given back; shared pages count once (PSS)."""
        gc.collect()
        with contextlib.suppress(AttributeError):  # glibc only
            ctypes.CDLL(None).malloc_trim(0)
        return sum(_proportional_bytes(pid) for pid in [os.getpid(), *self.postgres.memory_pids()])


class _Late:
    """An app that is put in place after its port is known."""

    app: ASGIApp

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def _schema_digest() -> str:
    """What the databases depend on: migrations and marks."""
    patterns: Sequence[str] = (
        "services/*/migrations/*.py", "services/*/models.py", "services/*/models/*.py", "shared/migrations/*.py",
        "shared/**/*.py", "services/privacy/ledger/**/*.py",
    )  # fmt: skip
    paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def _proportional_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
