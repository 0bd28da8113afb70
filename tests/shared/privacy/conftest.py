"""The sample service with two members in one tenant and a third in another."""

import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from shared.bus import publish
from shared.db import Database, uuid7
from shared.events.feed import PostPublished
from shared.privacy.erasure import Eraser
from shared.privacy.hooks import PersonalData
from shared.privacy.manifest import Manifest

_spec = importlib.util.spec_from_file_location("sample", Path(__file__).with_name("sample.py"))
assert _spec is not None
assert _spec.loader is not None
sample = importlib.util.module_from_spec(_spec)
sys.modules["sample"] = sample
_spec.loader.exec_module(sample)


@dataclass
class World:
    """`nora` asks to be forgotten; `omar` stays; `zoe` lives in another tenant."""

    database: Database
    eraser: Eraser
    manifest: Manifest
    tenant: UUID
    elsewhere: UUID
    nora: UUID
    omar: UUID
    zoe: UUID
    thread: UUID
    sample: Any

    async def query(self, query: str, **parameters: Any) -> list[Any]:
        async with self.database.transaction(self.tenant) as session:
            return list((await session.execute(text(query), parameters)).all())

    async def superuser(self) -> Any:
        """A connection past roles and row security."""
        return await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=self.database.engine.url.database)

    async def value(self, query: str, **parameters: Any) -> Any:
        return (await self.query(query, **parameters))[0][0]


@pytest.fixture
async def world(make_database: Any) -> AsyncIterator[World]:
    database = await make_database(sample.Base.metadata)
    manifest = Manifest.of("feed", sample.Base.metadata)
    eraser = Eraser("feed", manifest, PersonalData())
    ids = [uuid7() for _ in range(6)]
    world = World(database, eraser, manifest, *ids, sample)
    await _fill(world, world.tenant, world.nora, world.omar, "nora@example.org")
    await _fill(world, world.tenant, world.omar, world.nora, "omar@example.org")
    await _fill(world, world.elsewhere, world.zoe, world.zoe, "zoe@example.org")
    return world


async def _fill(world: World, tenant: UUID, person: UUID, other: UUID, email: str) -> None:
    party = uuid7()
    async with world.database.transaction(tenant) as session:
        session.add_all(
            [
                sample.Profile(
                    tenant_id=tenant, account_id=person, email=email, picture=f"{person}.webp", invited_by=other
                ),
                sample.Post(
                    tenant_id=tenant,
                    thread_id=world.thread,
                    author_id=person,
                    body=f"write to {email}",
                    mood="glad",
                    reservation_id=uuid7(),
                    approved_by=other,
                ),
                sample.Post(tenant_id=tenant, thread_id=uuid7(), author_id=person, body="again", mood="sad"),
                sample.AccountParty(tenant_id=tenant, account_id=person, party_id=party),
                sample.Party(tenant_id=tenant, id=party, address=f"1 street of {email}"),
                sample.Invoice(tenant_id=tenant, party_id=party, buyer=email, note=email, issued_on=date(2026, 1, 31)),
                sample.Room(tenant_id=tenant, name="Loft", keeper_id=person),
            ]
        )
        event = PostPublished(tenant_id=tenant, post_id=uuid7(), author_id=person, is_announcement=False)
        await publish(session, event)
