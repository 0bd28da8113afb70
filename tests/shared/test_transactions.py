"""The transaction that begins, admits and ends in few round trips keeps every promise of the one that took many."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from services.booking.models import Location
from shared.bus.tables import inbox
from shared.db import Database, fetch, savepoint, uuid7
from tests.support.testing import Databases

REFUSE = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'CW401'; END $$"


async def events(database: Database) -> int:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(inbox)) or 0


async def add_event(session: Any) -> None:
    await fetch(session, "INSERT INTO inbox (event_id, type) VALUES ($1, 'a.b.c.v1')", uuid7())


async def test_both_ways_to_the_database_share_one_transaction(make_database: Any) -> None:
    database = await make_database()
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as session:
            await add_event(session)
            await session.execute(inbox.insert().values(event_id=uuid7(), type="a.b.c.v1"))
            assert len(await fetch(session, "SELECT FROM inbox")) == 2
            raise ZeroDivisionError
    assert await events(database) == 0
    async with database.transaction() as session:
        await add_event(session)
        await session.execute(inbox.insert().values(event_id=uuid7(), type="a.b.c.v1"))
    async with database.transaction() as session:
        await add_event(session)
    assert await events(database) == 3


async def test_the_tenant_holds_for_both_ways_and_ends_with_the_transaction(make_database: Any) -> None:
    database, tenant = await make_database(pool_size=1), uuid7()
    asked = "SELECT coalesce(current_setting('cowork.tenant', true), '') AS tenant"
    async with database.transaction(tenant) as session:
        assert (await fetch(session, asked))[0]["tenant"] == str(tenant)
        assert await session.scalar(text(asked)) == str(tenant)
    async with database.transaction() as session:
        assert (await fetch(session, asked))[0]["tenant"] == ""


async def test_a_refusal_at_the_head_leaves_the_connection_usable(make_database: Any) -> None:
    database = await make_database(pool_size=1)
    for _ in range(3):
        with pytest.raises(DBAPIError) as refused:
            async with database.transaction(uuid7(), admitting=REFUSE):
                raise AssertionError("the body must not run")
        assert getattr(refused.value.orig, "sqlstate", None) == "CW401"
    async with database.transaction() as session:
        await add_event(session)
        async for _ in await session.stream(select(inbox.c.event_id)):
            pass
    assert await events(database) == 1


async def test_a_connection_that_the_server_has_closed_is_replaced_unnoticed(make_database: Any) -> None:
    database = await make_database(pool_size=1)
    async with database.transaction() as session:
        backend = (await fetch(session, "SELECT pg_backend_pid() AS pid"))[0]["pid"]
    other = Database(database.engine.url.render_as_string(hide_password=False), pool_size=1)
    async with other.transaction() as session:
        await fetch(session, "SELECT pg_terminate_backend($1)", backend)
    await other.close()
    await asyncio.sleep(0.2)
    assert await events(database) == 0


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_given_back(make_database: Any) -> None:
    database = await make_database(pool_size=1)
    for seconds in (0.0, 0.001, 0.01, 0.1):

        async def hang() -> None:
            async with database.transaction(uuid7()) as session:
                await add_event(session)
                await fetch(session, "SELECT pg_sleep(30)")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hang(), seconds)
    async with asyncio.timeout(5):
        assert await events(database) == 0


async def test_an_error_of_the_direct_way_looks_like_one_of_the_other(make_database: Any) -> None:
    database = await make_database()
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction() as session:
            await fetch(session, "INSERT INTO inbox (event_id, type) VALUES ($1, NULL)", uuid7())
    assert getattr(caught.value.orig, "sqlstate", None) == "23502"


async def test_what_the_session_has_not_flushed_is_there_for_the_direct_way(databases: Databases) -> None:
    database, tenant = Database((await databases.clone("booking")).app), uuid7()
    async with database.transaction(tenant) as session:
        session.add(Location(tenant_id=tenant, name="Canal", address="", time_zone="UTC"))
        assert [row["name"] for row in await fetch(session, "SELECT name FROM locations")] == ["Canal"]
    await database.close()


async def test_a_savepoint_undoes_its_part_alone_on_both_ways(make_database: Any) -> None:
    database = await make_database()
    async with database.transaction() as session:
        await add_event(session)
        with pytest.raises(ZeroDivisionError):
            async with savepoint(session):
                await add_event(session)
                await session.execute(inbox.insert().values(event_id=uuid7(), type="a.b.c.v1"))
                raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                await add_event(session)
                raise ZeroDivisionError
        async with savepoint(session):
            await add_event(session)
    assert await events(database) == 2


async def test_whoever_finds_no_free_connection_is_told_that_the_database_is_not_there(
    make_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.connections.WAIT_SECONDS", 0.1)
    database = await make_database(pool_size=1)
    async with database.transaction():
        with pytest.raises(DBAPIError) as caught:
            await events(database)
        assert isinstance(caught.value.orig, TimeoutError)
    assert await events(database) == 0


async def test_connections_that_are_old_or_whose_network_was_lost_are_replaced(
    make_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await make_database(pool_size=1)

    async def backend() -> int:
        async with database.transaction() as session:
            return int((await fetch(session, "SELECT pg_backend_pid() AS pid"))[0]["pid"])

    first = await backend()
    assert await backend() == first
    async with database.transaction() as session:
        await database.close()
        await add_event(session)
    second = await backend()
    assert second != first
    monkeypatch.setattr("shared.connections.LIFETIME_SECONDS", 0.0)
    assert await backend() != second


async def test_what_a_rush_has_opened_is_closed_when_nobody_needs_it(
    make_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await make_database(pool_size=4)
    name = f"'{uuid7()}'"

    async def rush(seconds: float) -> None:
        async with database.transaction() as session:
            await fetch(session, f"SET application_name = {name}")
            await fetch(session, "SELECT pg_sleep($1)", seconds)

    async def are_open() -> int:
        async with database.transaction() as session:
            asked = f"SELECT count(*) AS number FROM pg_stat_activity WHERE application_name = {name}"
            return int((await fetch(session, asked))[0]["number"])

    await asyncio.gather(*(rush(0.2) for _ in range(4)))
    assert await are_open() == 4
    monkeypatch.setattr("shared.connections.IDLE_SECONDS", 0.0)
    async with asyncio.timeout(10):
        while await are_open() > 1:
            pass
    assert await events(database) == 0


async def test_a_connection_in_autocommit_is_an_ordinary_one_afterwards(make_database: Any) -> None:
    database = await make_database(pool_size=1)
    async with database.connection() as connection:
        await connection.execute(inbox.insert().values(event_id=uuid7(), type="a.b.c.v1"))
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as session:
            await session.execute(inbox.insert().values(event_id=uuid7(), type="a.b.c.v1"))
            raise ZeroDivisionError
    assert await events(database) == 1
