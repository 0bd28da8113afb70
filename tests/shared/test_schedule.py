"""Jobs run when they are due, in one worker at a time, and at once when somebody says that there is something to do."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import text

from shared.bus.wake import Notifier, listen
from shared.db import Database, wake_after_commit
from shared.schedule import Schedule, Scheduler
from shared.tasks import cancel_all

SOON = 2.0


class Counted:
    """A schedule with one job that runs once an hour and notes its runs."""

    def __init__(self) -> None:
        self.schedule, self.runs, self.ran = Schedule(), 0, asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.schedule.every(hours=1)(self.tidy)

    async def tidy(self, _: Any) -> None:
        self.runs += 1
        self.ran.set()
        await self.may_end.wait()

    tidy.__name__ = "tidy"

    async def wait_for_run(self, seconds: float = SOON) -> bool:
        try:
            await asyncio.wait_for(self.ran.wait(), seconds)
        except TimeoutError:
            return False
        self.ran.clear()
        return True


def start(counted: Counted, database: Database) -> "asyncio.Task[None]":
    service = cast(Any, SimpleNamespace(database=database))
    return asyncio.create_task(Scheduler(service, counted.schedule).run())


async def test_a_job_runs_once_when_it_is_due_and_not_again_before_its_time(
    make_database: Callable[..., Awaitable[Database]],
) -> None:
    database, counted = await make_database(), Counted()
    running = [start(counted, database), start(counted, database)]
    assert await counted.wait_for_run()
    assert not await counted.wait_for_run(1.5)
    await cancel_all(running)
    assert counted.runs == 1


async def test_a_commit_wakes_a_job_that_is_not_due_and_a_rollback_does_not(
    make_database: Callable[..., Awaitable[Database]],
) -> None:
    database, counted = await make_database(), Counted()
    running = start(counted, database)
    assert await counted.wait_for_run()
    async with database.transaction() as session:
        wake_after_commit(session, "tidy")
        await session.execute(text("SELECT 1"))
    assert await counted.wait_for_run()
    try:
        async with database.transaction() as session:
            wake_after_commit(session, "tidy")
            raise LookupError
    except LookupError:
        pass
    assert not await counted.wait_for_run(1.0)
    await cancel_all([running])


async def test_what_is_wanted_while_the_job_works_is_done_after_it(
    make_database: Callable[..., Awaitable[Database]],
) -> None:
    database, counted = await make_database(), Counted()
    counted.may_end.clear()
    running = start(counted, database)
    assert await counted.wait_for_run()
    database.wake("tidy")
    counted.may_end.set()
    assert await counted.wait_for_run()
    await cancel_all([running])


async def test_a_process_without_jobs_wakes_those_of_the_worker(
    make_database: Callable[..., Awaitable[Database]],
) -> None:
    database, counted = await make_database(), Counted()
    running = [start(counted, database), asyncio.create_task(listen(database))]
    assert await counted.wait_for_run()
    await asyncio.sleep(0.3)
    api = Database(database.engine.url.render_as_string(hide_password=False))
    api.wake_elsewhere = Notifier(api).wake
    async with api.transaction() as session:
        wake_after_commit(session, "tidy")
    assert await counted.wait_for_run()
    await cancel_all(running)
    await api.close()


async def test_a_job_that_fails_is_tried_again(make_database: Callable[..., Awaitable[Database]]) -> None:
    database, counted = await make_database(), Counted()
    attempts = []

    async def fails_once(_: Any) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError
        await counted.tidy(None)

    counted.schedule = Schedule()
    counted.schedule.every(seconds=1)(fails_once)
    running = start(counted, database)
    assert await counted.wait_for_run(10)
    await cancel_all([running])
    assert len(attempts) == 2
