"""One leader per name, decided on the database clock."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import Database, uuid7

LEASE_SECONDS = 10.0

# A lease changes hands only after it has expired; the epoch tells the new holder from the old one.
_ACQUIRE = text(
    "INSERT INTO leases (name, holder, expires_at) VALUES (:name, :holder, now() + make_interval(secs => :ttl))"
    " ON CONFLICT (name) DO UPDATE SET"
    "  epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END,"
    "  holder = excluded.holder, expires_at = excluded.expires_at"
    " WHERE leases.holder = excluded.holder OR leases.expires_at < now() RETURNING epoch"
)
_IS_HELD = text("SELECT EXISTS (SELECT FROM leases WHERE name = :name AND holder = :holder AND expires_at > now())")
_RELEASE = text("UPDATE leases SET expires_at = now() - interval '1 second' WHERE name = :name AND holder = :holder")


class Lease:
    """This process's claim on `name`."""

    def __init__(self, database: Database, name: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._name = name
        self._seconds = seconds
        self.holder: UUID = uuid7()
        self.epoch = 0

    async def acquire(self) -> bool:
        """Take or renew the lease; False while another process holds it."""
        parameters = {"name": self._name, "holder": self.holder, "ttl": self._seconds}
        async with self._database.transaction() as session:
            epoch = (await session.execute(_ACQUIRE, parameters)).scalar()
        self.epoch = int(epoch or 0)
        return epoch is not None

    async def is_held(self, session: AsyncSession) -> bool:
        """Whether the lease is still ours, asked in the transaction that acts on it."""
        return bool(await session.scalar(_IS_HELD, {"name": self._name, "holder": self.holder}))

    async def release(self) -> None:
        async with self._database.transaction() as session:
            await session.execute(_RELEASE, {"name": self._name, "holder": self.holder})
        self.epoch = 0
