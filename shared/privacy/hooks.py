"""What the marks cannot say: a service's `personal_data.py` fills one `PersonalData`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

BeforeErasure = Callable[[AsyncSession, Sequence[UUID]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Store:
    """A place besides tables that holds personal data: what, how it is emptied, and after how many days at most."""

    name: str
    holds: str
    erased_by: str
    max_age_days: int


PLATFORM_STORES = (
    Store("event log", "ids of accounts in own events", "redacted by subject at erasure", 90),
    Store("outbox", "pointers into the event log", "gone with the broker's confirm", 1),
    Store("inbox", "ids of handled events", "holds no account", 90),
    Store("parked events", "ids of accounts in events", "deleted by subject at erasure", 90),
    Store("idempotency keys", "keyed digests, ids of resources", "deleted by account at erasure", 1),
    Store("broker queues", "ids of accounts in events", "acknowledged after handling", 1),
    Store("logs", "ids of events and cases; no account, no personal value", "rotated by the operator", 30),
    Store("write-ahead log, dead rows, backups", "former contents of tables", "recycled, vacuumed, expired", 35),
)


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What follows from the domain (cancel upcoming reservations) before anything of a person goes.

    `before_erasure(session, account_ids)` runs first in the transaction that erases these accounts.
    `before_tenant_erasure(session, held_ids)` runs once before the first rows of a whole tenant go; it spares the
    accounts under a legal hold and publishes no per-account events. `stores` names what the service holds besides
    tables.
    """

    before_erasure: BeforeErasure | None = None
    before_tenant_erasure: BeforeErasure | None = None
    stores: tuple[Store, ...] = ()
