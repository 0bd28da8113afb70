"""Writing the ledger down and proving it whole: every entry's hash covers the one before it."""

import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.ledger.tables import checkpoints, entries
from shared.db import Database

# Entries are appended one after the other, whichever worker completes a case.
_LOCK = text("SELECT pg_advisory_xact_lock(7023512)")
# Nobody waits for an answer here, and a long chain is verified for longer than a request may wait.
_PATIENCE = text("SET LOCAL lock_timeout = '30s'")
# The outcome of an erasure that a restore found under way: it is carried out by the replay.
COMMANDED = "commanded"
# Entries read together when the whole chain is verified.
BATCH = 5000


class ChainBroken(Exception):
    """The ledger is not what was written, or its key is another one. `position` is the first entry that does not fit."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the erasure ledger's chain breaks at position {position}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Entry:
    """One erasure: outcome (a CaseOutcome, or COMMANDED) and content choice (a ContentChoice); hashes have 32 bytes."""

    subject_hmac: bytes
    outcome: str
    content: str
    erased_at: datetime
    manifests_digest: bytes | None = None


class Ledger:
    """`key` is the privacy service's own secret: without it an entry points to nobody and no link can be forged.

    The one connection is opened by the first use; `close` gives it back, and a later use opens another.
    """

    def __init__(self, key: str, url: str) -> None:
        self._key = key.encode()
        self._url = url
        self._database: Database | None = None

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()

    def digest(self, tenant_id: UUID, subject_id: UUID) -> bytes:
        """Return the keyed hash of a subject (HMAC-SHA-256, RFC 2104); a whole tenant's subject is the tenant's id."""
        return hmac.digest(self._key, tenant_id.bytes + subject_id.bytes, hashlib.sha256)

    async def append(self, *new: Entry) -> int:
        """Write down who is erased, in order; return how many were not known yet. What is known stays as it is."""
        async with self._transaction() as session:
            await session.execute(_LOCK)
            digests = [entry.subject_hmac for entry in new]
            known = select(entries.c.subject_hmac).where(entries.c.subject_hmac.in_(digests))
            seen = set((await session.execute(known)).scalars())
            previous, rows = await _head(session), []
            for entry in new:
                if entry.subject_hmac not in seen:
                    seen.add(entry.subject_hmac)
                    rows.append({**_values(entry), "previous_hash": previous, "hash": self._link(previous, entry)})
                    previous = rows[-1]["hash"]
            if rows:
                await session.execute(insert(entries), rows)
        return len(rows)

    async def knows(self, tenant_id: UUID, subject_id: UUID) -> bool:
        """Whether a subject's erasure has been completed, or was commanded when a restore began."""
        found = exists().where(entries.c.subject_hmac == self.digest(tenant_id, subject_id))
        async with self._transaction() as session:
            return bool(await session.scalar(select(found)))

    async def contents(self) -> dict[bytes, str]:
        """Return every erased subject's content choice by keyed hash."""
        async with self._transaction() as session:
            return dict((await session.execute(select(entries.c.subject_hmac, entries.c.content))).tuples().all())

    async def verify(self) -> int:
        """Recompute the whole chain from where it was pruned last; return the number of entries. Raises ChainBroken."""
        async with self._transaction() as session:
            # Nobody prunes between the two statements.
            await session.execute(_LOCK)
            marked = {row.position: row for row in await session.execute(select(checkpoints))}
            return await self._verified(marked, _in_order(session))

    async def _verified(self, marked: Mapping[int, Any], rows: AsyncIterator[Any]) -> int:
        for position, mark in marked.items():
            if mark.seal != self._seal(position, mark.hash, mark.pruned):
                raise ChainBroken(position)
        base = max((mark for mark in marked.values() if mark.pruned), key=lambda mark: mark.position, default=None)
        previous = None if base is None else base.hash
        unmet = {position for position in marked if base is None or position > base.position}
        count = 0
        async for row in rows:
            count += 1
            entry = Entry(row.subject_hmac, row.outcome, row.content, row.erased_at, row.manifests_digest)
            if row.previous_hash != previous or row.hash != self._link(previous, entry):
                raise ChainBroken(row.position)
            previous = row.hash
            if row.position in unmet and marked[row.position].hash != row.hash:
                raise ChainBroken(row.position)
            unmet.discard(row.position)
        if unmet:
            raise ChainBroken(min(unmet))
        return count

    async def mark(self) -> None:
        """Seal where the chain stands now, so that whoever cuts entries off its end is found out.

        The service's role can cut off none at all: the database lets an entry go only where a checkpoint of pruning takes
        its place, and the last checkpoint never; one without the key is no seal. Who owns the database can switch that
        off: entries that came after the last seal are then not missed, nor are older ones if their seals go as well. Only
        a backup, which says how far the ledger went, tells.
        """
        async with self._transaction() as session:
            await session.execute(_LOCK)
            last = (await session.execute(_last(None))).one_or_none()
            already = exists().where(checkpoints.c.position == (last.position if last else 0))
            if last is not None and not await session.scalar(select(already)):
                await self._note(session, last.position, last.hash, pruned=0)

    async def prune(self, *, before: datetime) -> int:
        """Delete the entries made before an instant, up to the first younger one; return how many.

        A checkpoint takes their place, so that the rest of the chain still verifies.
        """
        async with self._transaction() as session:
            await session.execute(_LOCK)
            kept = await session.scalar(select(func.min(entries.c.position)).where(entries.c.erased_at >= before))
            last = (await session.execute(_last(kept))).one_or_none()
            if last is None:
                return 0
            pruned = int(await session.scalar(select(func.coalesce(func.max(checkpoints.c.pruned), 0))) or 0)
            gone: Any = await session.execute(delete(entries).where(entries.c.position <= last.position))
            await session.execute(delete(checkpoints).where(checkpoints.c.position <= last.position))
            await self._note(session, last.position, last.hash, pruned=pruned + gone.rowcount)
            return int(gone.rowcount)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        if self._database is None:
            self._database = Database(self._url, pool_size=1, application_name="cowork-ledger")
        async with self._database.transaction() as session:
            await session.execute(_PATIENCE)
            yield session

    async def _note(self, session: AsyncSession, position: int, hash_: bytes, *, pruned: int) -> None:
        row = {"position": position, "hash": hash_, "pruned": pruned, "seal": self._seal(position, hash_, pruned)}
        await session.execute(insert(checkpoints).values(row))

    def _link(self, previous: bytes | None, entry: Entry) -> bytes:
        at = entry.erased_at.astimezone(UTC).isoformat(timespec="microseconds").encode()
        said = (previous or b"", entry.subject_hmac, entry.manifests_digest or b"")
        return self._hash(*said, entry.outcome.encode(), entry.content.encode(), at)

    def _seal(self, position: int, hash_: bytes, pruned: int) -> bytes:
        return self._hash(b"checkpoint", str(position).encode(), hash_, str(pruned).encode())

    def _hash(self, *parts: bytes) -> bytes:
        """Each part says its length first: two lists of parts never read the same."""
        return hmac.digest(self._key, b"".join(bytes([len(part)]) + part for part in parts), hashlib.sha256)


@asynccontextmanager
async def open_ledger(key: str, url: str) -> AsyncIterator[Ledger]:
    """Yield a ledger and close its connection, if one was needed: cases complete so seldom that none is kept."""
    ledger = Ledger(key, url)
    try:
        yield ledger
    finally:
        await ledger.close()


def digest_of(manifests: Iterable[tuple[str, str | None]]) -> bytes:
    """Return the SHA-256 of (service, manifest digest) pairs in the order of the services."""
    lines = (f"{service} {digest or ''}\n" for service, digest in sorted(manifests))
    return hashlib.sha256("".join(lines).encode()).digest()


def _values(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


async def _in_order(session: AsyncSession) -> AsyncIterator[Any]:
    """Yield the entries, read a batch at a time."""
    last = 0
    while True:
        batch = select(entries).where(entries.c.position > last).order_by(entries.c.position).limit(BATCH)
        rows = (await session.execute(batch)).all()
        for row in rows:
            yield row
        if len(rows) < BATCH:
            return
        last = rows[-1].position


def _last(before: int | None) -> Any:
    """Select the last entry, or the last one before a position."""
    last = select(entries.c.position, entries.c.hash).order_by(entries.c.position.desc()).limit(1)
    return last if before is None else last.where(entries.c.position < before)


async def _head(session: AsyncSession) -> bytes | None:
    """Return the hash that the next entry builds on."""
    last = (await session.execute(_last(None))).one_or_none()
    if last is not None:
        return bytes(last.hash)
    pruned = select(checkpoints.c.hash).order_by(checkpoints.c.position.desc()).limit(1)
    found: bytes | None = await session.scalar(pruned)
    return found
