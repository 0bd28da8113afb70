"""One leader per name, decided on the database clock."""

import time
from uuid import UUID

from sqlalchemy import text

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
_RELEASE = text("UPDATE leases SET expires_at = now() - interval '1 second' WHERE name = :name AND holder = :holder")


class Lease:
    """This process's claim on `name`."""

    def __init__(self, database: Database, name: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self.name = name
        self._seconds = seconds
        self._renew_at = 0.0
        self.holder: UUID = uuid7()
        self.epoch = 0

    async def hold(self) -> bool:
        """Take the lease, or renew it once a third of its time has passed; False while another process holds it.

        Between two renewals it may be lost: what must not happen twice asks the database in its own statement.
        """
        now = time.monotonic()
        if self.epoch and now < self._renew_at:
            return True
        self._renew_at = now + self._seconds / 3
        return await self.acquire()

    async def acquire(self) -> bool:
        """Take or renew the lease; False while another process holds it."""
        parameters = {"name": self.name, "holder": self.holder, "ttl": self._seconds}
        async with self._database.connection() as connection:
            epoch = await connection.scalar(_ACQUIRE, parameters)
        self.epoch = int(epoch or 0)
        return epoch is not None

    def lose(self) -> None:
        """Note that another process holds it: the next `hold` asks the database."""
        self.epoch = 0

    async def release(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, {"name": self.name, "holder": self.holder})
        self.epoch = 0
