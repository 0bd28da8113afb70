"""Engine, transactions, tenant row security and naming, the same for every service.

A transaction is opened and committed here and in `shared/bus/` only. Row security reads the tenant from the
transaction-local setting `cowork.tenant`; outside `Database.transaction(tenant)` no business row is visible.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, MetaData, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from uuid_utils.compat import uuid7 as _uuid7

from shared.privacy.marks import not_personal

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

# Tables that every service's database holds (bus, tombstones, idempotency, schedule …).
PLATFORM = MetaData(naming_convention=NAMING)

# True while this task holds a transaction: a network call in it would keep row locks for its whole duration.
in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)

AfterCommit = Callable[[], Awaitable[None]]

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
        self, url: str, *, pool_size: int = 5, max_overflow: int = 5, application_name: str = "cowork"
    ) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_pre_ping=False,
            pool_recycle=1800,
            # Bound values are personal data: they must not reach an error text or a log.
            hide_parameters=True,
            connect_args={"server_settings": {"application_name": application_name, "jit": "off"}},
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        # Set by the relay: called after the commit of a transaction that has published.
        self.wake_relay: AfterCommit | None = None

    @asynccontextmanager
    async def transaction(self, tenant_id: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """Yield a session in one transaction: committed at the end, rolled back when the body raises.

        With `tenant_id`, row security admits that tenant's rows; without, no tenant's. Callbacks registered by
        `after_commit` run once the commit has succeeded.
        """
        async with self._sessions() as session:
            session.info["wake_relay"] = self.wake_relay
            in_transaction.set(True)
            try:
                async with session.begin():
                    if tenant_id is not None:
                        await enter_tenant(session, tenant_id)
                    yield session
            finally:
                in_transaction.set(False)
            for callback in session.info.pop("after_commit", []):
                await callback()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Yield a bare connection in autocommit, for advisory locks, LISTEN and health checks."""
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        await self.engine.dispose()


async def enter_tenant(session: AsyncSession, tenant_id: UUID) -> None:
    """Admit one tenant's rows for the rest of the transaction; a transaction never changes its tenant."""
    session.info["tenant_id"] = tenant_id
    await session.execute(text("SELECT set_config('cowork.tenant', :tenant, true)"), {"tenant": str(tenant_id)})


def tenant_of(session: AsyncSession) -> UUID:
    """Return the tenant that the transaction was opened for. Raises LookupError when there is none."""
    tenant = session.info.get("tenant_id")
    if tenant is None:
        raise LookupError("the transaction has no tenant")
    return UUID(str(tenant))


def after_commit(session: AsyncSession, callback: AfterCommit) -> None:
    """Run `callback` after this session's transaction has committed; never when it rolled back."""
    callbacks: list[Any] = session.info.setdefault("after_commit", [])
    if callback not in callbacks:
        callbacks.append(callback)
