"""A database connection whose other end is gone without a word: whoever waits on it is told, and the next gets a new one."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from shared.db import Database
from tests.faults.proxy import Proxy
from tests.support.testing import Databases

ANSWER_SECONDS = 1.0


@pytest.fixture
async def proxied(databases: Databases) -> AsyncIterator[tuple[Proxy, Database]]:
    urls = await databases.clone("helpdesk")
    url = make_url(urls.app)
    assert url.port is not None
    proxy = Proxy(url.port).start()
    through = url.set(port=proxy.port).render_as_string(hide_password=False)
    database = Database(through, answer_seconds=ANSWER_SECONDS)
    yield proxy, database
    await database.close()
    proxy.stop()


async def ask(database: Database, statement: str = "SELECT 1") -> None:
    async with database.transaction() as session:
        await session.execute(text(statement))


async def test_one_silent_connection_costs_one_wait_and_the_rest_of_the_pool_none(
    proxied: tuple[Proxy, Database],
) -> None:
    proxy, database = proxied
    await asyncio.gather(*(ask(database, "SELECT pg_sleep(0.2)") for _ in range(4)))
    proxy.stall()
    proxy.forget()
    started = time.monotonic()
    with pytest.raises((TimeoutError, DBAPIError)):
        async with asyncio.timeout(20):
            await ask(database)
    assert time.monotonic() - started < 6 * ANSWER_SECONDS
    started = time.monotonic()
    for _ in range(4):
        await ask(database)
    assert time.monotonic() - started < ANSWER_SECONDS


async def test_a_connection_that_falls_silent_in_mid_transaction_ends_it(proxied: tuple[Proxy, Database]) -> None:
    proxy, database = proxied
    started = time.monotonic()
    with pytest.raises((TimeoutError, DBAPIError)):
        async with asyncio.timeout(20), database.transaction() as session:
            await session.execute(text("SELECT 1"))
            proxy.stall()
            proxy.forget()
            await session.execute(text("SELECT 1"))
    assert time.monotonic() - started < 6 * ANSWER_SECONDS
    await ask(database)
