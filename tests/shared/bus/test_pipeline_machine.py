"""The pipeline under every order of mishaps that Hypothesis finds, and the proof that it would find a broken rule.

COWORK_HYPOTHESIS=long runs it for minutes with a fresh seed; the seed of every run is printed at the end, and
`--hypothesis-seed=<seed>` repeats it.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, core, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from shared.bus import crash
from shared.db import Database
from tests.shared.bus.clock import Clock
from tests.shared.bus.machine import PipelineMachine
from tests.shared.bus.pipeline import Pipeline

EFFECTS = "CREATE TABLE effects (position bigint GENERATED ALWAYS AS IDENTITY, event_id uuid, key text, version bigint)"
FIXED_SEED = 20260301


def profile(examples: int, steps: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **{"phases": [Phase.generate, Phase.shrink], **more},
    )


SHORT = profile(100, 40)
LONG = profile(800, 60)
HUNT = profile(150, 40, phases=[Phase.generate], verbosity=Verbosity.quiet, report_multiple_bugs=False)


@pytest.fixture
async def stores(make_database: Any) -> AsyncIterator[tuple[Database, Database]]:
    feed, notify = await make_database(), await make_database()
    connection = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=notify.engine.url.database)
    await connection.execute(EFFECTS)
    await connection.execute("GRANT ALL ON effects TO PUBLIC")
    await connection.close()
    yield feed, notify


@pytest.fixture
def pipeline(stores: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    clock = Clock()
    pipeline = Pipeline(clock, *stores)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    monkeypatch.setattr(crash, "end", pipeline.kill)
    yield pipeline
    crash.arm("")
    clock.run(pipeline.close())
    clock.close()


def play(pipeline: Pipeline, profile: settings, seed_of_run: int) -> None:
    # Hypothesis reads the seed from the factory, as `@seed` leaves it there.
    factory: Callable[[], PipelineMachine] = seed(seed_of_run)(lambda: PipelineMachine(pipeline))
    run_state_machine_as_test(factory, settings=profile)


def test_nothing_is_lost_doubled_or_reordered_whatever_happens(pipeline: Pipeline, record_property: Any) -> None:
    is_long = os.environ.get("COWORK_HYPOTHESIS") == "long"
    forced = core.global_force_seed
    chosen = forced if forced is not None else random.SystemRandom().getrandbits(32) if is_long else FIXED_SEED
    record_property("hypothesis-seed", chosen)
    play(pipeline, LONG if is_long else SHORT, chosen)
