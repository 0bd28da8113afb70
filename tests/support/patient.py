"""A whole suite for the doctor to look at, and its configuration as an operator's environment holds it."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.doctor.examination import examine
from deploy.doctor.findings import Report
from deploy.doctor.words import Language
from deploy.embedded.secrets import DATABASES
from shared.events import SERVICES
from tests.support.commands import cowork
from tests.support.ports import free_port
from tests.support.postbox import Postbox
from tests.support.rabbitmq import Node
from tests.support.spaces import Space, open_space
from tests.support.suites import Processes

NOWHERE = Path("no-data-folder")


class Patient:
    """Seven processes and a broker with its management API, in use; `await start()` … `await stop()`."""

    space: Space

    def __init__(self, folder: Path) -> None:
        management_port = free_port()
        self.node = Node(settings={"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(management_port)})
        (self.node.folder / "enabled_plugins").write_text("[rabbitmq_management].")
        self.postbox = Postbox()
        self.management_url = f"http://guest:guest@127.0.0.1:{management_port}"
        self.folder = folder
        self.suite: Any = None

    async def start(self) -> None:
        self.postbox.start()
        await asyncio.to_thread(self.node.start)
        self.suite = Processes(self.folder, self.postbox, self.node.url(), warm=True)
        await self.suite.start()
        self.space = await open_space(self.suite)

    async def stop(self) -> None:
        """Also after a start that did not come to its end."""
        try:
            if self.suite is not None:
                await self.suite.stop()
        finally:
            await asyncio.to_thread(self.node.close)
            self.postbox.stop()

    @property
    def environment(self) -> dict[str, str]:
        """Every variable of the suite, those of owners and of the doctor included."""
        whole = {"COWORK_RABBITMQ_MANAGEMENT_URL": self.management_url}
        for name in SERVICES:
            whole |= self.suite.environment_of(name)
        for name in DATABASES:
            whole[f"COWORK_{name.upper()}_OWNER_URL"] = self.suite.owner_url(name)
        return {name: value for name, value in whole.items() if name.startswith("COWORK_")}

    async def examine(
        self,
        *names: str,
        fixes: bool = False,
        language: Language = "en",
        without: tuple[str, ...] = (),
        **changed: str,
    ) -> Report:
        """Run the doctor in this process, in an environment that is changed by `changed` and lacks `without`."""
        whole = {**self.environment, **changed}
        with environment({name: value for name, value in whole.items() if name not in without}):
            return await examine(NOWHERE, language, names=names, fixes=fixes)

    async def command(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run `cowork …` in the suite's environment, where there is no installation that somebody tries out."""
        return await asyncio.to_thread(cowork, *arguments, where=self.folder, **{**self.environment, **changed})

    async def change(self, service: str, statements: str) -> None:
        """Change a service's database as its superuser."""
        connection = await self.suite.superuser(service)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    @asynccontextmanager
    async def changed(self, service: str, there: str, back: str) -> AsyncIterator[None]:
        """Change a service's database for as long as the body lasts."""
        await self.change(service, there)
        try:
            yield
        finally:
            await self.change(service, back)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Put these in the place of every setting that this process has."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COWORK_") and not name.startswith("COWORK_RUN_")]:
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
