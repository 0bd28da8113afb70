"""The erasure ledger: keyed hashes of erased subjects, chained, so that a restore can be replayed and duplicates known."""

import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.models import LedgerEntry

# Entries are appended one after the other, whichever worker completes a case.
APPEND_LOCK = 7_023_512


class Ledger:
    """`key` is the privacy service's own secret; without it an entry points to nobody."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def digest(self, tenant_id: UUID, subject_id: UUID) -> bytes:
        """Return the keyed hash of a subject (HMAC-SHA-256, RFC 2104)."""
        return hmac.digest(self._key, tenant_id.bytes + subject_id.bytes, hashlib.sha256)

    async def append(
        self, session: AsyncSession, tenant_id: UUID, subject_id: UUID, *, outcome: str, erased_at: datetime
    ) -> None:
        """Write down that a subject is erased; a second entry for it is not made."""
        await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": APPEND_LOCK})
        if await self.knows(session, tenant_id, subject_id):
            return
        last = select(LedgerEntry.hash).order_by(LedgerEntry.position.desc()).limit(1)
        previous = await session.scalar(last)
        digest = self.digest(tenant_id, subject_id)
        link = hashlib.sha256((previous or b"") + digest + outcome.encode() + erased_at.isoformat().encode()).digest()
        row = {
            "subject_hmac": digest,
            "outcome": outcome,
            "erased_at": erased_at,
            "previous_hash": previous,
            "hash": link,
        }
        await session.execute(insert(LedgerEntry).values(row))

    async def knows(self, session: AsyncSession, tenant_id: UUID, subject_id: UUID) -> bool:
        """Whether a subject's erasure has been completed."""
        found = exists().where(LedgerEntry.subject_hmac == self.digest(tenant_id, subject_id))
        return bool(await session.scalar(select(found)))
