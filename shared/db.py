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
from sqlalchemy import DateTime, MetaData, Uuid
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.pool import NullPool
from uuid_utils.compat import uuid7 as _uuid7

from shared.connections import Connections, Driver, Held
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
LOCK_SECONDS = 1.0

# What the driver raises, its own confusion included (a server that refuses in the middle of a greeting).
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

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
                    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}ms",
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
                if session.in_transaction():
                    await session.commit()
                # A session that has begun but never spoken has not joined: what the driver has done is committed here.
                await driver.end(keep=True)
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
            # SQLAlchemy's own option notes each use until the connection goes back to a pool, which this one never does.
            held.set_isolation_level("autocommit")
            yield held.connection
            await held.connection.rollback()
            held.set_isolation_level(None)
            is_clean = True
        finally:
            await asyncio.shield(self._connections.give_back(held, is_clean=is_clean))

    async def ping(self) -> None:
        """Ask for an answer, whatever it is. Raises DBAPIError or TimeoutError when there is none."""
        async with self.transaction() as session:
            await fetch(session, "SELECT 1")

    async def close(self) -> None:
        await self._connections.close()
        await self.engine.dispose()

    async def _release(self, held: Held, session: AsyncSession) -> None:
        """Roll back what was not committed and give the connection back; even a cancelled request does so to the end."""
        if not session.in_transaction() and held.driver.is_clean() and not held.connection.in_transaction():
            _let_go(session)
            await self._connections.give_back(held, is_clean=True)
        else:
            await asyncio.shield(self._clean_up(held, session))

    async def _clean_up(self, held: Held, session: AsyncSession) -> None:
        try:
            await (session.close() if session.in_transaction() else held.driver.end(keep=False))
        except (*LOST, DBAPIError) as error:
            log.info("database.rollback_lost", exc_info=error)
        finally:
            _let_go(session)
            is_clean = held.driver.is_clean() and not held.connection.in_transaction()
            await self._connections.give_back(held, is_clean=is_clean)


def _let_go(session: AsyncSession) -> None:
    """Take the connection from a session: one that outlives its transaction must not speak in somebody else's."""
    session.sync_session.bind = None
    session.info.pop("driver", None)


@contextmanager
def _as_database_error() -> Iterator[None]:
    """What the driver raises on the direct way looks like what it raises through SQLAlchemy."""
    try:
        yield
    except LOST as error:
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
    """Undo what the body has done when it raises; the transaction goes on. Quicker than the session's own, not nested.

    After an error that has ended the whole transaction (a failed flush of objects), that error stays.
    """
    await fetch(session, "SAVEPOINT part")
    driver: Driver = session.info["driver"]
    try:
        yield
        await fetch(session, "RELEASE SAVEPOINT part")
    except Exception:
        if not driver.is_closed() and driver.is_in_transaction():
            await driver.execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")
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
