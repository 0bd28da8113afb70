"""What the benchmarks run on: one PostgreSQL with fsync on, one RabbitMQ, cloned databases, one running suite."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import provision
from shared.events import SERVICES
from tests.support.broker import Broker, find_broker
from tests.support.postbox import Postbox
from tests.support.suites import Processes
from tests.support.testing import Databases


class Stand:
    """Shared by all figures of a run and taken down at its end. `scale` 1.0 is the full size, CI smokes at 0.02."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale
        self.folder = Path(tempfile.mkdtemp(prefix="cowork-bench-"))
        self.folder.chmod(0o755)
        # Only a smoke run does without fsync: none of its figures means anything.
        self.postgres = EmbeddedPostgres(self.folder / "postgres", max_connections=300, durable=scale == 1)
        self.broker: Broker
        self.databases: Databases
        self._closing = AsyncExitStack()
        self._suite: Processes | None = None

    def many(self, full: int, *, least: int = 10) -> int:
        """Scale a number of repetitions or rows."""
        return max(least, int(full * self.scale))

    @property
    def amqp_url(self) -> str:
        return self.broker.url

    async def start(self) -> None:
        self.broker = await asyncio.to_thread(find_broker)
        self.closing(_sync(self.broker.stop))
        await self.postgres.start()
        self.closing(self.postgres.stop)
        await self._count_statements()
        password = secrets.token_hex(12)
        passwords = dict.fromkeys(SERVICES, (password, password))
        self.databases = Databases(self.postgres.admin_url, "bench", passwords, _provision)

    async def _count_statements(self) -> None:
        """Let the server count what it is asked (`costs.Meter` reads it); for every side of every figure alike."""
        await self._administer("ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements")
        await self.postgres.stop()
        await self.postgres.start()
        await self._administer("CREATE EXTENSION pg_stat_statements")
        # BEGIN, COMMIT and NOTIFY are no statements in the sense of anybody's comparison.
        await self._administer("ALTER SYSTEM SET pg_stat_statements.track_utility = off")
        await self._administer("SELECT pg_reload_conf()")

    async def _administer(self, statement: str) -> None:
        admin = await asyncpg.connect(self.postgres.admin_url)
        try:
            await admin.execute(statement)
        finally:
            await admin.close()

    async def stop(self) -> None:
        await self._closing.aclose()
        shutil.rmtree(self.folder, ignore_errors=True)

    def closing(self, stop: Callable[[], Awaitable[object]]) -> None:
        """Call `stop` at the end of the run, the last one first."""
        self._closing.push_async_callback(stop)

    async def suite(self) -> Processes:
        """Return the suite, every service an API and a worker process over RabbitMQ; started once per run."""
        if self._suite is None:
            postbox = Postbox().start()
            self.closing(_sync(postbox.stop))
            # A smoke run's processes start faster: nobody asks for their memory.
            is_smoke = self.scale != 1
            self._suite = Processes(
                self.folder, postbox, self.amqp_url, postgres=self.postgres, roles=("api", "worker"), warm=is_smoke
            )
            await self._suite.start()
            self.closing(self._suite.stop)
        return self._suite


def _sync(stop: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        stop()

    return run


async def _provision(admin_url: str, passwords: Mapping[str, tuple[str, str]], prefix: str) -> None:
    await provision(admin_url, passwords, prefix=prefix)
