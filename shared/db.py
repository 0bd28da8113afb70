"""Engine, transactions, tenant row security and naming, the same for every service.

A transaction is opened and committed here and in `shared/bus/` only. Row security reads the tenant from the
transaction-local setting `cowork.tenant`; outside `Database.transaction(tenant)` no business row is visible.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from asyncpg.transaction import Transaction
from sqlalchemy import DateTime, MetaData, Uuid
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.pool import NullPool
from uuid_utils.compat import uuid7 as _uuid7

from shared.privacy.marks import not_personal

log = structlog.get_logger()

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

# Tables that every service's database holds (bus, tombstones, idempotency, schedule …).
PLATFORM = MetaData(naming_convention=NAMING)

# An answer that takes longer does not come: without a limit, a connection that is half-open would hold its task for ever.
# Twice what a reaction may take, so that a reaction which hangs is told from a database that is silent.
ANSWER_SECONDS = 60.0

# Whoever waits longer for a row that somebody holds is told to try again (503): one row that is held for long would
# otherwise take every connection of the pool, and with them all other rows.
LOCK_SECONDS = 3.0

# Balancers and servers forget what is open for long.
LIFETIME_SECONDS = 1800.0
WAIT_SECONDS = 30.0

# True while this task holds a transaction: a network call in it would keep row locks for its whole duration.
in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)

Wake = Callable[[str], None]

uuid7: Callable[[], UUID] = _uuid7


def utc_now() -> datetime:
    """Return the current instant, aware, in UTC. Domain functions take `now` instead of calling this."""
    return datetime.now(UTC)


TYPES: dict[Any, Any] = {datetime: DateTime(timezone=True), UUID: Uuid(as_uuid=True)}


def service_metadata() -> MetaData:
    """Return fresh metadata, so that services in one process keep their tables apart."""
    return MetaData(naming_convention=NAMING)


class TenantRow:
    """Mixin of every business table: the tenant that owns the row, checked by row security."""

    @declared_attr
    @classmethod
    def tenant_id(cls) -> Mapped[UUID]:
        return mapped_column(Uuid(as_uuid=True), nullable=False, info=not_personal("tenant"))


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
        return


@dataclass(frozen=True, slots=True)
class Held:
    """An open connection in somebody's hands: for SQLAlchemy, and for the driver alone."""

    connection: AsyncConnection
    driver: Driver
    opened_at: float
    generation: int


class Connections:
    """At most `size` connections of an engine that keeps none itself; those that are free stay open."""

    def __init__(self, engine: AsyncEngine, *, size: int) -> None:
        self._engine = engine
        self._free: list[Held] = []
        self._places = asyncio.Semaphore(size)
        self._generation = 0

    async def take(self) -> Held:
        """Return a connection that nobody else has and that the server has not closed meanwhile.

        Raises DBAPIError when none could be opened, or none became free for WAIT_SECONDS.
        """
        try:
            await asyncio.wait_for(self._places.acquire(), WAIT_SECONDS)
        except TimeoutError as error:
            raise DBAPIError(None, None, error, hide_parameters=True) from error
        try:
            while self._free:
                held = self._free.pop()
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
                self._free.append(held)
            else:
                await self._close(held)
        finally:
            self._places.release()

    async def close(self) -> None:
        """Close what is free now, and what is in use when it comes back; whoever comes then opens a new one."""
        self._generation += 1
        free, self._free = self._free, []
        for held in free:
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


class Database:
    """One service's application pool; `transaction` is the only way to a session."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        application_name: str = "cowork",
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            poolclass=NullPool,
            # Bound values are personal data: they must not reach an error text or a log.
            hide_parameters=True,
            connect_args={
                "command_timeout": answer_seconds,
                "server_settings": {
                    "application_name": application_name,
                    "jit": "off",
                    "lock_timeout": f"{LOCK_SECONDS:.0f}s",
                },
                "connection_class": Driver,
            },
        )
        # A connection beyond their number would be opened and closed again for a single transaction, and that costs more
        # than the transaction: whoever comes then waits for one that is open.
        self._connections = Connections(self.engine, size=pool_size)
        # Who in this process is woken by which name after a commit (`wake_after_commit`), and who tells the other process.
        self.wakers: dict[str, Wake] = {}
        self.wake_elsewhere: Wake | None = None

    @asynccontextmanager
    async def transaction(
        self, tenant_id: UUID | None = None, *, admitting: str | None = None
    ) -> AsyncIterator[AsyncSession]:
        """Yield a session in one transaction: committed at the end, rolled back when the body raises.

        With `tenant_id`, row security admits that tenant's rows; without, no tenant's. `admitting` is the SQL that does
        so, where more has to be asked than which tenant. What `wake_after_commit` has named is woken
        once the commit has succeeded.
        """
        held = await self._connections.take()
        driver = held.driver
        session = AsyncSession(bind=held.connection, expire_on_commit=False)
        session.info["driver"] = driver
        if tenant_id is not None:
            session.info["tenant_id"] = tenant_id
            admitting = admitting or f"SELECT set_config('cowork.tenant', '{tenant_id}', true)"
        in_transaction.set(True)
        try:
            with _as_database_error():
                await driver.open(admitting or "")
            yield session
            with _as_database_error():
                await (session.commit() if session.in_transaction() else driver.end(keep=True))
        except (TimeoutError, DBAPIError) as error:
            if isinstance(getattr(error, "orig", error), TimeoutError):
                # What does not answer is lost, and with it all that the pool has: they share its network.
                await self._connections.close()
            raise
        finally:
            in_transaction.set(False)
            await self._release(held, session)
        for what in session.info.pop("woken", {}):
            self.wake(what)

    def wake(self, what: str) -> None:
        """Tell whoever does `what` (a relay, a job), in this process or in another one, that there is something to do."""
        waker = self.wakers.get(what, self.wake_elsewhere)
        if waker is not None:
            waker(what)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a bare connection in autocommit, for leases, NOTIFY, LISTEN and the relay's own statements."""
        held, is_clean = await self._connections.take(), False
        try:
            yield await held.connection.execution_options(isolation_level="AUTOCOMMIT")
            await held.connection.rollback()
            await held.connection.execution_options(isolation_level="READ COMMITTED")
            is_clean = True
        finally:
            await asyncio.shield(self._connections.give_back(held, is_clean=is_clean))

    async def close(self) -> None:
        await self._connections.close()
        await self.engine.dispose()

    async def _release(self, held: Held, session: AsyncSession) -> None:
        """Roll back what was not committed and give the connection back; even a cancelled request does so to the end."""
        driver = held.driver
        if not session.in_transaction() and driver.is_clean():
            await self._connections.give_back(held, is_clean=True)
        else:
            await asyncio.shield(self._clean_up(held, session))

    async def _clean_up(self, held: Held, session: AsyncSession) -> None:
        driver = held.driver
        try:
            await (session.close() if session.in_transaction() else driver.end(keep=False))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, DBAPIError) as error:
            log.info("database.rollback_lost", exc_info=error)
        finally:
            await self._connections.give_back(held, is_clean=driver.is_clean())


@contextmanager
def _as_database_error() -> Iterator[None]:
    """What the driver raises on the direct way looks like what it raises through SQLAlchemy."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DBAPIError(None, None, error, hide_parameters=True) from error


async def fetch(session: AsyncSession, query: str, *values: Any) -> list[Any]:
    """Return a query's rows (asyncpg records; `$1` …) straight from the driver, for hot paths.

    The query runs in the session's transaction, after what the session still has to flush.
    """
    # A session that nobody has used yet has not begun, and has nothing to flush.
    if session.in_transaction() and (session.new or session.dirty or session.deleted):
        await session.flush()
    if session.in_nested_transaction():
        # The savepoint is laid when the session first asks for its connection.
        await session.connection()
    driver: Driver = session.info["driver"]
    with _as_database_error():
        return list(await driver.fetch(query, *values))


@asynccontextmanager
async def savepoint(session: AsyncSession) -> AsyncIterator[None]:
    """Undo what the body has done when it raises; the transaction goes on. Quicker than the session's own."""
    await fetch(session, "SAVEPOINT part")
    try:
        yield
        await fetch(session, "RELEASE SAVEPOINT part")
    except Exception:
        await fetch(session, "ROLLBACK TO SAVEPOINT part")
        session.expire_all()
        raise


async def enter_tenant(session: AsyncSession, tenant_id: UUID) -> None:
    """Admit one tenant's rows for the rest of the transaction; a transaction never changes its tenant."""
    session.info["tenant_id"] = tenant_id
    await fetch(session, "SELECT set_config('cowork.tenant', $1, true)", str(tenant_id))


def tenant_of(session: AsyncSession) -> UUID:
    """Return the tenant that the transaction was opened for. Raises LookupError when there is none."""
    tenant = session.info.get("tenant_id")
    if tenant is None:
        raise LookupError("the transaction has no tenant")
    return UUID(str(tenant))


def wake_after_commit(session: AsyncSession, what: str) -> None:
    """Have `Database.wake(what)` called once this session's transaction has committed: nobody waits for the next poll."""
    session.info.setdefault("woken", {})[what] = None
