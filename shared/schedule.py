"""Scheduled jobs that run once, however many workers there are: a due row is claimed on the database clock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Column, DateTime, Table, Text, TextClause, text

from shared.bus.crash import crash
from shared.db import PLATFORM, Database
from shared.privacy.marks import no_subject, not_personal
from shared.tasks import cancel_all

if TYPE_CHECKING:
    from shared.service import Service

log = structlog.get_logger()
POLL_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
LONGEST_GAP_SECONDS = 1.0
# A claim is renewed while its job works; when a worker dies, another takes the job up after this time.
CLAIM = timedelta(seconds=10)
RENEW_SECONDS = 3

scheduled_jobs = Table(
    "scheduled_jobs",
    PLATFORM,
    Column("name", Text, primary_key=True, info=not_personal("job name")),
    Column("due_at", DateTime(timezone=True), nullable=False, info=not_personal("instant")),
    Column("claimed_until", DateTime(timezone=True), info=not_personal("instant")),
    Column("succeeded_at", DateTime(timezone=True), info=not_personal("instant")),
    info=no_subject("when each job runs next"),
)

Work = Callable[["Service"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    every: timedelta
    work: Work


class Schedule:
    """A service's jobs: `@schedule.every(minutes=5)` above `async def expire_holds(service)`."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def every(self, **interval: float) -> Callable[[Work], Work]:
        """Run the decorated function each `timedelta(**interval)`, in one worker at a time."""

        def register(work: Work) -> Work:
            self.jobs.append(Job(work.__name__, timedelta(**interval), work))
            return work

        return register

    def include(self, other: "Schedule") -> None:
        self.jobs.extend(other.jobs)


_ENSURE = text("INSERT INTO scheduled_jobs (name, due_at) VALUES (:name, now()) ON CONFLICT DO NOTHING")
_CLAIM = text(
    "UPDATE scheduled_jobs SET claimed_until = now() + :claim WHERE name = :name AND (due_at <= now() OR :is_woken)"
    " AND (claimed_until IS NULL OR claimed_until < now()) RETURNING name"
)
_RENEW = text("UPDATE scheduled_jobs SET claimed_until = now() + :claim WHERE name = :name")
_DONE = text(
    "UPDATE scheduled_jobs SET due_at = now() + :every, claimed_until = NULL, succeeded_at = now() WHERE name = :name"
)
_FAILED = text(
    "UPDATE scheduled_jobs SET due_at = now() + least(:every, interval '30 seconds'), claimed_until = NULL"
    " WHERE name = :name"
)
_WAIT = text("SELECT extract(epoch FROM due_at - now()) FROM scheduled_jobs WHERE name = :name")


class Scheduler:
    """Runs one service's schedule in a worker until stopped.

    A job runs when it is due, and at once when `wake_after_commit(session, name)` says that there is something to do.
    """

    def __init__(self, service: "Service", schedule: Schedule) -> None:
        self._service = service
        self._schedule = schedule
        self._stopping = asyncio.Event()
        self._woken = {job.name: asyncio.Event() for job in schedule.jobs}
        service.database.wakers.update(dict.fromkeys(self._woken, self.wake))

    def wake(self, name: str) -> None:
        self._woken[name].set()

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._repeat(job), name=job.name) for job in self._schedule.jobs]
        try:
            await self._stopping.wait()
        finally:
            await cancel_all(tasks)

    def stop(self) -> None:
        self._stopping.set()

    async def _repeat(self, job: Job) -> None:
        is_known = False
        while True:
            try:
                if not is_known:
                    await _execute(self._service.database, _ENSURE, name=job.name)
                    is_known = True
                began = asyncio.get_running_loop().time()
                wait = await self.run_if_due(job)
                # However often it is woken, it takes half of the time at most.
                await asyncio.sleep(min(asyncio.get_running_loop().time() - began, LONGEST_GAP_SECONDS))
                await self._rest(job, wait)
            except Exception as error:
                log.error("job.failed", job=job.name, exc_info=error)
                await asyncio.sleep(POLL_SECONDS * 4)

    async def run_if_due(self, job: Job) -> float:
        """Run `job` if it is due and nobody else has it; return the seconds to wait before asking again."""
        database = self._service.database
        woken = self._woken[job.name]
        is_woken = woken.is_set()
        woken.clear()
        claimed = await _execute(database, _CLAIM, name=job.name, claim=CLAIM, is_woken=is_woken)
        if claimed is None:
            wait = await _execute(database, _WAIT, name=job.name)
            if is_woken:
                # Somebody else works at it, and may have looked before there was something to do.
                asyncio.get_running_loop().call_later(POLL_SECONDS, woken.set)
            return min(max(float(wait or 0), POLL_SECONDS), LONGEST_WAIT_SECONDS)
        crash("job.after_claim")
        renewing = asyncio.create_task(self._renew(job))
        try:
            await job.work(self._service)
        except BaseException:
            await _execute(database, _FAILED, name=job.name, every=job.every)
            raise
        finally:
            renewing.cancel()
        await _execute(database, _DONE, name=job.name, every=job.every)
        return min(job.every.total_seconds(), LONGEST_WAIT_SECONDS)

    async def _rest(self, job: Job, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._woken[job.name].wait(), seconds)
        except TimeoutError:
            return

    async def _renew(self, job: Job) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await _execute(self._service.database, _RENEW, name=job.name, claim=CLAIM)


async def _execute(database: Database, statement: TextClause, **parameters: object) -> Any:
    async with database.transaction() as session:
        result: Any = await session.execute(statement, parameters)
        return result.scalar() if result.returns_rows else None
