"""Nobody comes back: keyed digests of erased subjects, and the lock that orders an erasure with every write."""

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import fetch

_LOCK = "SELECT pg_advisory_xact_lock(subject_lock($1, $2))"
_LAY = "INSERT INTO tombstones (digest) VALUES (tombstone_digest($1, $2)) ON CONFLICT DO NOTHING RETURNING 1"
_IS_ERASED = text("SELECT is_tombstoned(:tenant, :subject)")


async def lock_subject(session: AsyncSession, tenant_id: UUID, subject_id: UUID) -> None:
    """Wait until no transaction writes about the subject and keep new ones out until this one ends."""
    await fetch(session, _LOCK, tenant_id, subject_id)


async def lay_tombstone(session: AsyncSession, tenant_id: UUID, subject_id: UUID) -> bool:
    """Refuse the subject from now on, even if no row of it exists; False when it lay already.

    The subject of a whole tenant is the tenant's own id.
    """
    return bool(await fetch(session, _LAY, tenant_id, subject_id))


async def is_erased(session: AsyncSession, tenant_id: UUID, subject_id: UUID) -> bool:
    """Whether the account, or its whole tenant, is erased in this service."""
    return bool(await session.scalar(_IS_ERASED, {"tenant": tenant_id, "subject": subject_id}))
