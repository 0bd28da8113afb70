"""Engine, transactions, tenant row security and naming, the same for every service.

A transaction is opened and committed here and in `shared/bus/` only. Row security reads the tenant from the
transaction-local setting `cowork.tenant`; outside `Database.transaction(tenant)` no business row is visible.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from asyncpg.transaction import Transaction
from sqlalchemy import DateTime, MetaData, Uuid
from sqlalchemy.event import listens_for
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry
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
            pool_size=pool_size,
            # A connection beyond the pool's size would be opened and closed again for a single transaction, and that
            # costs more than the transaction: whoever comes then waits for one that is open.
            max_overflow=0,
            pool_pre_ping=False,
            pool_recycle=1800,
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
        listens_for(self.engine.sync_engine, "close")(_hang_up)
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
        connection, driver = await self._connect()
        session = AsyncSession(bind=connection, expire_on_commit=False)
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
                await self.engine.dispose()
            raise
        finally:
            in_transaction.set(False)
            await _release(connection, driver, session)
        for what in session.info.pop("woken", {}):
            self.wake(what)

    def wake(self, what: str) -> None:
        """Tell whoever does `what` (a relay, a job), in this process or in another one, that there is something to do."""
        waker = self.wakers.get(what, self.wake_elsewhere)
        if waker is not None:
            waker(what)

    async def _connect(self) -> tuple[AsyncConnection, Driver]:
        """Return a connection that was not closed while it lay in the pool."""
        while True:
            connection = await self.engine.connect()
            assert connection.sync_connection is not None
            driver = connection.sync_connection.connection.driver_connection
            assert isinstance(driver, Driver)
            if not driver.is_closed():
                return connection, driver
            await connection.invalidate()
            await connection.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a bare connection in autocommit, for advisory locks, LISTEN and health checks."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        await self.engine.dispose()


def _hang_up(connection: Any, _: ConnectionPoolEntry) -> None:
    """Close without a goodbye: a silent server would be waited for once for each connection of the pool."""
    connection.driver_connection.terminate()


async def _release(connection: AsyncConnection, driver: Driver, session: AsyncSession) -> None:
    """Roll back what was not committed and give the connection back; even a cancelled request does so to the end."""
    if session.in_transaction() or driver.is_closed() or driver.is_opening or driver.is_in_transaction():
        await asyncio.shield(_clean_up(connection, driver, session))
    await connection.close()


async def _clean_up(connection: AsyncConnection, driver: Driver, session: AsyncSession) -> None:
    try:
        await (session.close() if session.in_transaction() else driver.end(keep=False))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, DBAPIError) as error:
        log.info("database.rollback_lost", exc_info=error)
    if driver.is_closed() or driver.is_opening or driver.is_in_transaction():
        await connection.invalidate()


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
