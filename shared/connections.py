"""The database's connections: what the driver is told beyond SQLAlchemy, and who has which of them (0019, 0027)."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

# Balancers and servers forget what is open for long.
LIFETIME_SECONDS = 1800.0
# A rush needs many; each that stays open afterwards holds some 6 MB in the server for nothing.
IDLE_SECONDS = 60.0
# Well below what a reaction may take: that none is free is told from a reaction that hangs.
WAIT_SECONDS = 10.0


class Driver(asyncpg.Connection):  # type: ignore[misc]
    """A connection that sends BEGIN together with what its transaction needs first: one round trip instead of two.

    SQLAlchemy joins the transaction that is open; what needs neither ORM nor Core never builds one.
    """

    _opening = ""
    _refusal: asyncpg.PostgresError | None = None
    _opened: Transaction | None = None
    # True from the start of a BEGIN to its answer: cancelled in between, nobody knows what the server has done.
    is_opening = False

    async def open(self, opening: str) -> None:
        """Begin, and run `opening` (statements without values of callers). Raises what it raises, rolled back."""
        self._opening, self.is_opening = opening, True
        opened = super().transaction()
        await opened.start()
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            await opened.rollback()
        self.is_opening = False
        if refusal is not None:
            raise refusal
        self._opened = opened

    async def end(self, *, keep: bool) -> None:
        """Commit, or roll back, what no SQLAlchemy session has joined."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await (opened.commit() if keep else opened.rollback())

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        opening, self._opening = self._opening, ""
        if not opening:
            return str(await super().execute(query, *args, timeout=timeout))
        try:
            return str(await super().execute(query + opening))
        except asyncpg.PostgresError as error:
            # A failed start would leave asyncpg's transaction half open: give it an empty one to roll back.
            self._refusal = error
            return str(await super().execute("ROLLBACK; BEGIN"))

    def is_clean(self) -> bool:
        """Whether the next transaction may begin on it."""
        return not (self.is_closed() or self.is_opening or self.is_in_transaction())

    def transaction(self, **options: Any) -> Any:
        opened, self._opened = self._opened, None
        return super().transaction(**options) if opened is None else _Joined(opened)


class _Joined:
    """A transaction that has begun already, for whoever wants to start it."""

    def __init__(self, opened: Transaction) -> None:
        self.commit = opened.commit
        self.rollback = opened.rollback

    async def start(self) -> None:
        """It has begun."""


@dataclass(frozen=True, slots=True)
class Held:
    """An open connection in somebody's hands: for SQLAlchemy, and for the driver alone."""

    connection: AsyncConnection
    driver: Driver
    opened_at: float
    generation: int

    def set_isolation_level(self, level: str | None) -> None:
        assert self.connection.sync_connection is not None
        dbapi: Any = self.connection.sync_connection.connection.dbapi_connection
        dbapi.set_isolation_level(level)


class Connections:
    """At most `size` connections of an engine that keeps none itself; those that are free stay open for a while."""

    def __init__(self, engine: AsyncEngine, *, size: int) -> None:
        self._engine = engine
        # The one that has been free for longest is the first: whoever comes takes the last.
        self._free: list[tuple[float, Held]] = []
        self._places = asyncio.Semaphore(size)
        self._generation = 0

    async def take(self) -> Held:
        """Return a connection that nobody else has and that the server has not closed meanwhile.

        Raises DBAPIError when none could be opened, or none became free for WAIT_SECONDS.
        """
        try:
            # Not `wait_for`: in Python 3.11 it may swallow a cancellation, and it makes a task of every transaction.
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError as error:
            raise DBAPIError(None, None, error, hide_parameters=True) from error
        try:
            # Without work for as many, a pool shrinks by itself.
            if len(self._free) > 1 and time.monotonic() - self._free[0][0] > IDLE_SECONDS:
                await self._close(self._free.pop(0)[1])
            while self._free:
                _, held = self._free.pop()
                if self._is_good(held):
                    return held
                await self._close(held)
            return await self._open()
        except BaseException:
            self._places.release()
            raise

    async def give_back(self, held: Held, *, is_clean: bool) -> None:
        """Take a connection back; one that is not clean is closed, for nobody knows what the server has made of it."""
        try:
            if is_clean and self._is_good(held):
                self._free.append((time.monotonic(), held))
            else:
                await self._close(held)
        finally:
            self._places.release()

    async def close(self) -> None:
        """Close what is free now, and what is in use when it comes back; whoever comes then opens a new one."""
        self._generation += 1
        free, self._free = self._free, []
        for _, held in free:
            await self._close(held)

    def _is_good(self, held: Held) -> bool:
        is_young = time.monotonic() - held.opened_at < LIFETIME_SECONDS
        return is_young and held.generation == self._generation and not held.driver.is_closed()

    async def _open(self) -> Held:
        generation = self._generation
        connection = await self._engine.connect()
        assert connection.sync_connection is not None
        driver = connection.sync_connection.connection.driver_connection
        assert isinstance(driver, Driver)
        return Held(connection, driver, time.monotonic(), generation)

    async def _close(self, held: Held) -> None:
        """Without a goodbye: a silent server would be waited for once for each connection."""
        held.driver.terminate()
        await held.connection.invalidate()
        await held.connection.close()
