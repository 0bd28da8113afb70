"""Making databases and roles can be interrupted anywhere and repeated; what a restore has closed stays closed."""

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from deploy.backup.gate import close_gate, is_closed, is_open_to_all
from deploy.backup.places import connected
from deploy.embedded.provision import EXTENSIONS, Names, provision

ADMIN = "COWORK_RUN_PG_URL"
PASSWORDS = {"feed": ("owner-of-feed", "app-of-feed")}


@pytest.fixture
async def prefix() -> AsyncIterator[str]:
    """Names that no other test uses; what they name is gone afterwards."""
    made = f"p{uuid4().hex[:10]}"
    yield made
    names, admin = Names.of("feed", made), await asyncpg.connect(os.environ[ADMIN])
    await admin.execute(f"DROP DATABASE IF EXISTS {names.database} WITH (FORCE)")
    for role in (names.owner, names.app):
        await admin.execute(f"DROP ROLE IF EXISTS {role}")
    await admin.close()


async def make(prefix: str) -> None:
    await provision(os.environ[ADMIN], PASSWORDS, prefix=prefix)


def owner_of(prefix: str) -> str:
    server = os.environ[ADMIN].rsplit("@", 1)[1].rsplit("/", 1)[0]
    names = Names.of("feed", prefix)
    return f"postgresql+asyncpg://{names.owner}:{PASSWORDS['feed'][0]}@{server}/{names.database}"


async def test_a_database_that_was_made_and_not_prepared_is_prepared_the_next_time(prefix: str) -> None:
    names, admin = Names.of("feed", prefix), await asyncpg.connect(os.environ[ADMIN])
    for role in (names.owner, names.app):
        await admin.execute(f"CREATE ROLE {role} LOGIN")
    await admin.execute(f"CREATE DATABASE {names.database} OWNER {names.owner}")
    await admin.close()
    for _ in range(2):
        await make(prefix)
        assert not await is_open_to_all(owner_of(prefix))
        assert not await is_closed(owner_of(prefix))
        async with connected(owner_of(prefix)) as owner:
            present = {row["extname"] for row in await owner.fetch("SELECT extname FROM pg_extension")}
            assert set(EXTENSIONS) <= present
            assert not await owner.fetchval("SELECT has_schema_privilege('public', 'public', 'USAGE')")
            await owner.execute("CREATE TABLE IF NOT EXISTS public.ours ()")


async def test_the_gate_of_a_half_restored_database_stays_closed(prefix: str) -> None:
    await make(prefix)
    await close_gate([owner_of(prefix)])
    await make(prefix)
    assert await is_closed(owner_of(prefix))
