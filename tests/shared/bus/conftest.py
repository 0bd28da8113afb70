"""The pipeline of two services, for the state machine and for stories told step by step."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from shared.bus import crash, parking
from shared.db import Database
from tests.shared.bus.clock import Clock
from tests.shared.bus.pipeline import Pipeline

EFFECTS = "CREATE TABLE effects (position bigint GENERATED ALWAYS AS IDENTITY, event_id uuid, key text, version bigint)"


@pytest.fixture
async def stores(make_database: Any) -> tuple[Database, Database]:
    feed, notify = await make_database(), await make_database()
    connection = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=notify.engine.url.database)
    await connection.execute(EFFECTS)
    await connection.execute("GRANT ALL ON effects TO PUBLIC")
    await connection.close()
    return feed, notify


@pytest.fixture
def pipeline(stores: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    clock = Clock()
    pipeline = Pipeline(clock, *stores)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    monkeypatch.setattr(crash, "end", pipeline.kill)
    # Dead is soon reached: the tenth attempt is like the third.
    monkeypatch.setattr(parking, "MAX_ATTEMPTS", 3)
    yield pipeline
    crash.arm("")
    clock.run(pipeline.close())
    clock.close()
