"""Databases with the platform's tables and a small sample service that exercises every mark."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.embedded.provision import provision
from shared import migrate  # noqa: F401 (declares every platform table)
from shared.db import PLATFORM, Database
from shared.privacy import protection

MakeDatabase = Callable[..., Awaitable[Database]]


@pytest.fixture
async def make_database() -> AsyncIterator[MakeDatabase]:
    """`await make_database(metadata)`: an application pool on a new database with these and the platform's tables."""
    admin_url, made = os.environ["COWORK_RUN_PG_URL"], []

    async def make(metadata: MetaData | None = None, **options: int) -> Database:
        service = f"s{uuid4().hex[:10]}"
        await provision(admin_url, {service: ("owner", "app")}, prefix="plain")
        place = admin_url.rsplit("@", 1)[1].rsplit("/", 1)[0]
        owner = create_async_engine(f"postgresql+asyncpg://plain_{service}_owner:owner@{place}/plain_{service}")
        async with owner.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE alembic_version (version_num text)")
            for one in (metadata or MetaData(), PLATFORM):
                await connection.run_sync(one.create_all)
            for statement in protection.statements(metadata or MetaData(), f"plain_{service}_app"):
                await connection.exec_driver_sql(statement)
        await owner.dispose()
        database = Database(f"postgresql+asyncpg://plain_{service}_app:app@{place}/plain_{service}", **options)
        made.append((service, database))
        return database

    yield make
    admin = await asyncpg.connect(admin_url)
    for service, database in made:
        await database.close()
        await admin.execute(f"DROP DATABASE plain_{service} WITH (FORCE)")
    await admin.close()
