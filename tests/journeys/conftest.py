"""One suite per transport for all journeys of a run, a space with its people, and the places where a value may hide."""

import base64
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_pika
import pytest

from tests.support import suites
from tests.support.postbox import Postbox
from tests.support.spaces import Space, open_space


@pytest.fixture(scope="session")
def postbox() -> Any:
    postbox = Postbox().start()
    yield postbox
    postbox.stop()


@pytest.fixture(scope="session", params=["local", "rabbitmq"])
async def suite(request: Any, postbox: Any, amqp_url: str) -> AsyncIterator[Any]:
    folder = Path(tempfile.mkdtemp(prefix=f"cowork-journeys-{request.param}-"))
    folder.chmod(0o755)
    running = (
        suites.Embedded(folder, postbox)
        if request.param == "local"
        else suites.Processes(folder, postbox, amqp_url, warm=True)
    )
    await running.start()
    yield running
    await running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def space(suite: Any) -> Space:
    return await open_space(suite)


@pytest.fixture
def open_another(suite: Any) -> Any:
    return lambda: open_space(suite)


def forms_of(value: str) -> dict[str, str]:
    """The ways in which a value may still be readable."""
    raw = value.encode()
    return {
        "raw": value,
        "lower": value.lower(),
        "url": quote(value),
        "base64": base64.b64encode(raw).decode().rstrip("="),
        "hex": raw.hex(),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "md5": hashlib.md5(raw).hexdigest(),
        "sha1": hashlib.sha1(raw).hexdigest(),
    }


async def places_of(suite: Any, values: Iterable[str]) -> dict[str, set[str]]:
    """Return where each value is found, in any form: `service.table`, statistics, files, logs, queues."""
    haystacks: dict[str, str] = {"logs": suite.logs(), "files": suite.stored_files().decode("latin-1")}
    for service in suites.SERVICES:
        connection = await suite.superuser(service)
        await connection.execute("ANALYZE")
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for table in tables:
            rows = await connection.fetch(f"SELECT t::text AS row FROM {table['relname']} t")
            haystacks[f"{service}.{table['relname']}"] = "\n".join(row["row"] for row in rows)
        statistics = (
            "SELECT attname, most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname = 'public'"
        )
        haystacks[f"{service}.pg_stats"] = str([tuple(row) for row in await connection.fetch(statistics)])
        await connection.close()
    if isinstance(suite, suites.Processes):
        haystacks["queues"] = await _queued(suite)
    return {
        value: {place for place, text in haystacks.items() if any(form in text for form in forms_of(value).values())}
        for value in values
    }


async def _queued(suite: Any) -> str:
    """What lies in the broker's queues, read and given back."""
    found = []
    connection = await aio_pika.connect(suite._amqp_url)
    async with connection:
        for service in suites.SERVICES:
            for kind in ("dead",):
                channel = await connection.channel()
                queue = await channel.get_queue(f"{suite.namespace}.{service}.{kind}")
                while (message := await queue.get(fail=False, no_ack=False)) is not None:
                    found.append(message.body.decode("latin-1"))
                await channel.close()
            channel = await connection.channel()
            state = await channel.declare_queue(f"{suite.namespace}.{service}.in", passive=True)
            found.append("waiting" * (state.declaration_result.message_count or 0))
            await channel.close()
    return "".join(found)


@pytest.fixture
def places(suite: Any) -> Any:
    return lambda values: places_of(suite, values)
