"""The tombstone triggers: whom they refuse, whom they let pass, and what they cost."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db import uuid7
from shared.events.identity import ContentChoice

PROFILE = "INSERT INTO profiles (tenant_id, account_id, email) VALUES (:t, :account, 'racer@example.org')"
CONNECTIONS = 8


async def erase(world: Any, account: UUID) -> None:
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.erase_account(session, account_id=account, case_id=uuid7(), content=ContentChoice.REMOVE)


async def write(world: Any, statement: str, **parameters: Any) -> int:
    async with world.database.transaction(world.tenant) as session:
        result: Any = await session.execute(text(statement), parameters)
        return int(result.rowcount)


async def test_a_tombstone_is_neither_changed_nor_lifted_by_the_application(world: Any) -> None:
    await erase(world, world.nora)
    for attempt in ("DELETE FROM tombstones", "UPDATE tombstones SET laid_at = now()", "TRUNCATE tombstones"):
        with pytest.raises(DBAPIError, match="permission denied"):
            await write(world, attempt)


async def test_writing_about_a_crowd_fits_into_the_lock_table(world: Any) -> None:
    crowd = "INSERT INTO profiles (tenant_id, account_id, email) SELECT :t, gen_random_uuid(), 'x' FROM generate_series(1, :n)"
    assert await write(world, crowd, t=world.tenant, n=30_000) == 30_000


async def test_what_says_nothing_new_about_an_erased_person_is_written(world: Any) -> None:
    await erase(world, world.nora)
    assert await write(world, "UPDATE posts SET updated_at = now()") == 4
    assert await write(world, "UPDATE posts SET body = NULL WHERE author_id = :omar", omar=world.omar) == 2
    assert await write(world, "UPDATE rooms SET keeper_id = NULL") == 2


async def test_an_erased_person_is_refused_over_the_map_too(world: Any) -> None:
    party = await world.value("SELECT party_id FROM account_parties WHERE account_id = :id", id=world.omar)
    # A tombstone alone, as after a restore: the map still leads to the person.
    async with world.database.transaction(world.tenant) as session:
        await session.execute(
            text("INSERT INTO tombstones (digest) VALUES (tombstone_digest(:t, :omar))"),
            {"t": world.tenant, "omar": world.omar},
        )
    with pytest.raises(DBAPIError) as refused:
        await write(world, "UPDATE parties SET address = 'new' WHERE id = :party", party=party)
    assert getattr(refused.value.orig, "sqlstate", None) == "CW410"


async def test_the_guards_are_back_as_soon_as_the_plan_has_run(world: Any) -> None:
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.erase_account(session, account_id=world.nora, case_id=uuid7(), content=ContentChoice.REMOVE)
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(text(PROFILE), {"t": world.tenant, "account": world.nora})


async def test_an_insert_that_races_an_erasure_leaves_nothing(world: Any) -> None:
    async def insert(person: UUID) -> str:
        try:
            await write(world, PROFILE, t=world.tenant, account=person)
        except DBAPIError:
            return "refused"
        return "written"

    outcomes = set()
    for turn in range(60):
        people = [uuid7() for _ in range(CONNECTIONS // 2)]
        inserts = [insert(person) for person in people]
        erasures = [erase(world, person) for person in people]
        pairs = zip(inserts, erasures, strict=True)
        # Who starts first alternates, so that both orders are seen.
        work = [one for pair in pairs for one in (pair if turn % 2 else reversed(pair))]
        outcomes |= {outcome for outcome in await asyncio.gather(*work) if outcome is not None}
        left = await world.value("SELECT count(*) FROM profiles WHERE account_id = ANY(:people)", people=people)
        assert left == 0
    assert outcomes == {"refused", "written"}


async def test_people_are_found_by_index_whatever_the_models_say(world: Any) -> None:
    async with world.database.transaction(world.tenant) as session:
        await session.execute(text("SELECT set_config('enable_seqscan', 'off', true)"))
        for table, column in (
            ("profiles", "invited_by"),
            ("posts", "author_id"),
            ("posts", "approved_by"),
            ("invoices", "party_id"),
        ):
            plan = await session.execute(
                text(f"EXPLAIN SELECT 1 FROM {table} WHERE {column} = ANY(:ids)"), {"ids": [world.nora]}
            )
            assert f"person_{table}_{column}" in " ".join(plan.scalars()), f"{table}.{column}"
