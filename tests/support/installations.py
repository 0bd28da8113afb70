"""A suite that is backed up, halted, restored and started again with the command, as its operator does it."""

import asyncio
import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from deploy.backup.places import connected
from deploy.embedded.provision import Names
from deploy.embedded.suite import EmbeddedSuite
from shared.events import SERVICES
from tests.support import commands, suites


class Installation(ABC):
    """`await cowork("backup", folder)` runs the command; `halt` and `resume` stop and start everybody who serves."""

    suite: suites.Suite

    async def cowork(self, *arguments: str | Path, **variables: str) -> tuple[int, Any, str]:
        """Return the exit code, the JSON summary (None without one) and what was said."""
        told = {**self._environment(), **variables}
        done = await asyncio.to_thread(commands.cowork, *arguments, *self._data(), **told)
        return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else None, done.stderr

    async def start(self) -> None:
        await self.suite.start()

    async def stop(self) -> None:
        await self.suite.stop()

    @abstractmethod
    async def halt(self) -> None: ...

    @abstractmethod
    async def resume(self) -> None: ...

    def owner(self, name: str) -> str:
        passwords = self.suite.secrets.databases[name]
        return Names.of(name).address(passwords, self.suite.postgres.port, owner=True)

    async def fingerprint(self) -> str:
        """Return a digest of every row of every service and of every file; the server must run."""
        digest = hashlib.sha256(self.suite.stored_files())
        for name in SERVICES:
            async with connected(self.owner(name)) as owner:
                for table in await owner.fetch("SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r'"
                    " AND relnamespace = 'public'::regnamespace ORDER BY 1"):  # fmt: skip
                    rows = f"SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table['name']} t"
                    digest.update(str((name, table["name"], await owner.fetchval(rows))).encode())
        return digest.hexdigest()

    @abstractmethod
    def _data(self) -> list[str]: ...

    def _environment(self) -> dict[str, str]:
        return {}


class Embedded(Installation):
    """One process and a data folder."""

    def __init__(self, folder: Path, postbox: Any) -> None:
        self.suite: suites.Embedded = suites.Embedded(folder, postbox)

    async def halt(self) -> None:
        await self.suite.suite.stop()

    async def resume(self) -> None:
        self.suite.suite = self.again()
        self.suite.postgres = self.suite.suite.postgres
        await self.suite.start()

    def again(self) -> EmbeddedSuite:
        """Return a new process's suite over the same folder."""
        return suites.embedded_suite(self.suite.folder, self.suite.postbox)

    def _data(self) -> list[str]:
        return ["--data", str(self.suite.folder)]


class Separate(Installation):
    """A process per service over RabbitMQ, configured by the environment."""

    def __init__(self, folder: Path, postbox: Any, amqp_url: str) -> None:
        self.suite: suites.Processes = suites.Processes(folder, postbox, amqp_url, warm=True)

    async def halt(self) -> None:
        await self.suite.stop_processes()

    async def resume(self) -> None:
        for name in SERVICES:
            await self.suite.start_service(name, wait=False)
        for name in SERVICES:
            await self.suite.ready(name)

    def _data(self) -> list[str]:
        return ["--data", str(self.suite.folder / "nothing")]

    def _environment(self) -> dict[str, str]:
        variables = super()._environment()
        for name in SERVICES:
            variables |= self.suite.environment_of(name)
        for name in (*SERVICES, "ledger"):
            variables[f"COWORK_{name.upper()}_OWNER_URL"] = self.owner(name)
        return variables
