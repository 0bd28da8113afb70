"""One PostgreSQL and one RabbitMQ per run, found or started before the first test and stopped after the last."""

import asyncio
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from xdist.scheduler import LoadScopeScheduling

from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import provision
from deploy.embedded.secrets import DATABASES
from shared import logging
from tests.support.broker import delete_queues, find_broker
from tests.support.testing import Databases, TokenMint

PG = "COWORK_RUN_PG_URL"
AMQP = "COWORK_RUN_AMQP_URL"
PREFIX = "COWORK_RUN_PREFIX"
PASSWORDS = "COWORK_RUN_PASSWORD"
ORIGIN = "COWORK_RUN_ORIGIN"
# Folders in memory, where there is room: a run makes some thirty database servers, and a test's disk may be slow.
MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30
# What takes minutes begins first: begun last, it would run on alone while the other workers have nothing left to do.
LONGEST = ("tests/journeys/test_restore.py", "tests/faults/test_short.py", "tests/faults/test_nodes.py", "tests/bench/")


def pytest_configure(config: pytest.Config) -> None:
    """Only the controlling process starts servers; xdist workers inherit their addresses."""
    logging.configure("test", level="ERROR")
    if PG in os.environ:
        return
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    os.environ[PREFIX] = f"t{secrets.token_hex(3)}"
    os.environ[PASSWORDS] = secrets.token_hex(12)
    os.environ[PG] = os.environ.get("COWORK_TEST_PG_URL") or _start_postgres(config)
    broker = find_broker()
    config.add_cleanup(broker.stop)
    os.environ[AMQP], os.environ[ORIGIN] = broker.url, broker.origin


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = len(LONGEST)
    items.sort(key=lambda item: next((at for at in range(ranks) if item.nodeid.startswith(LONGEST[at])), ranks))


class ByRoom(LoadScopeScheduling):
    """A file's tests share a worker, all journeys of one transport do, and the doctor's: each suite starts once per run.

    By name, for the mark `xdist_group` does not reach the scheduler: pytest 9.2 has moved the ids that xdist 3.8 marks.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::")[0]
        if "/test_doctor" in path:
            return "doctor"
        transport = re.search(r"[\[-](local|rabbitmq)[\]-]", nodeid) if "/journeys/" in path else None
        return f"journeys over {transport[1]}" if transport else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByRoom | None:
    # In the order of the collection, not the files with the most tests first.
    config.option.loadscopereorder = False
    return ByRoom(config, log) if config.getvalue("dist") == "loadgroup" else None


def _has_room(folder: Path) -> bool:
    """Whether tests may work in a folder: it is large enough, may be written to, and programs in it may be run."""
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize > ROOM_BYTES


def _start_postgres(config: pytest.Config) -> str:
    folder = Path(tempfile.mkdtemp(prefix="cowork-test-pg-"))
    server = EmbeddedPostgres(folder, max_connections=300, durable=False)
    asyncio.run(server.start())

    def stop() -> None:
        asyncio.run(server.stop())
        shutil.rmtree(folder, ignore_errors=True)

    config.add_cleanup(stop)
    return server.admin_url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    async def version() -> str:
        connection = await asyncpg.connect(os.environ[PG])
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    for report in [one for reports in terminalreporter.stats.values() for one in reports]:
        for name, value in getattr(report, "user_properties", ()):
            if report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: --{name}={value}")
    terminalreporter.write_line(f"PostgreSQL {asyncio.run(version())}; RabbitMQ: {os.environ[ORIGIN]}")


@pytest.fixture(scope="session")
async def databases() -> AsyncIterator[Databases]:
    password = os.environ[PASSWORDS]
    cloned = Databases(os.environ[PG], os.environ[PREFIX], dict.fromkeys(DATABASES, (password, password)), _provision)
    yield cloned
    await cloned.drop_all()


async def _provision(admin_url: str, passwords: dict[str, tuple[str, str]], prefix: str) -> None:
    await provision(admin_url, passwords, prefix=prefix)


@pytest.fixture(scope="session")
def mint() -> TokenMint:
    return TokenMint()


@pytest.fixture(scope="session")
def amqp_url() -> str:
    return os.environ[AMQP]


@pytest.fixture
async def bus_namespace(amqp_url: str) -> AsyncIterator[str]:
    """A prefix for exchanges and queues that no other test uses; they are gone afterwards."""
    namespace = f"t{uuid4().hex[:10]}"
    yield namespace
    await delete_queues(amqp_url, namespace, ("feed", "notify"))
