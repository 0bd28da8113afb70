"""A clock that stands still until it is moved: the event loop's own time, and every `asyncio.sleep` on it.

PostgreSQL's `now()` cannot be moved, so time passes in the databases by ageing their rows: `Pipeline.advance` takes
as much off `leases.expires_at` and `inbox_parked.retry_at` as it adds here. The product's SQL stays as it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

_sleep = asyncio.sleep


class Killed(BaseException):
    """Stands for the end of a process at a crash point."""


@dataclass(eq=False, slots=True)
class Sleeper:
    due: float
    woken: "asyncio.Future[None]"
    task: Any


class Clock(asyncio.SelectorEventLoop):
    """`sleep` stands in for `asyncio.sleep`; `settle` waits until every task has ended or sleeps."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[Sleeper] = []
        self._turn = asyncio.Event()
        super().__init__()
        self.set_exception_handler(_report)

    def time(self) -> float:
        return self._now

    def run(self, work: Awaitable[Any]) -> Any:
        return self.run_until_complete(work)

    async def sleep(self, seconds: float, result: Any = None) -> Any:
        if seconds <= 0:
            return await _sleep(0, result)
        sleeper = Sleeper(self._now + seconds, self.create_future(), asyncio.current_task())
        self._sleepers.append(sleeper)
        self._turn.set()
        try:
            await sleeper.woken
        finally:
            self._sleepers.remove(sleeper)
        return result

    async def advance(self, seconds: float) -> None:
        """Move time and wake whoever is due; timeouts fire by themselves."""
        self._now += seconds
        for sleeper in sorted(self._sleepers, key=lambda one: one.due):
            if sleeper.due <= self._now and not sleeper.woken.done():
                sleeper.woken.set_result(None)
        for _ in range(5):
            await _sleep(0)

    async def settle(self, tasks: Callable[[], Iterable["asyncio.Task[Any]"]]) -> None:
        while busy := [task for task in tasks() if not task.done() and not self._is_asleep(task)]:
            self._turn.clear()
            turn = self.create_task(self._turn.wait())
            await asyncio.wait([*busy, turn], return_when=asyncio.FIRST_COMPLETED)
            turn.cancel()

    def _is_asleep(self, task: "asyncio.Task[Any]") -> bool:
        return any(sleeper.task is task and not sleeper.woken.done() for sleeper in self._sleepers)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that ended with its process is nobody's to wait for."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)
