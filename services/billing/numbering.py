"""Numbers without gaps: the next one is taken from a locked row, inside the transaction that finalizes.

CGI ann. II art. 242 nonies A: a unique number in a chronological and continuous series.
"""

from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.models import Series
from shared.db import tenant_of


@dataclass(frozen=True, slots=True)
class Taken:
    """The number that this transaction holds; it exists only if the transaction commits."""

    number: int
    previous_hash: bytes | None


async def take_number(session: AsyncSession, *, kind: str, year: int) -> Taken:
    """Take the next number of the tenant's series; others wait here until this transaction ends."""
    row = {"tenant_id": tenant_of(session), "kind": kind, "year": year, "last_number": 1}
    statement = insert(Series).values(row)
    following = statement.on_conflict_do_update(
        index_elements=["tenant_id", "kind", "year"], set_={"last_number": Series.last_number + 1}
    )
    number, previous_hash = (await session.execute(following.returning(Series.last_number, Series.last_hash))).one()
    return Taken(number, previous_hash)


async def note_hash(session: AsyncSession, *, kind: str, year: int, hash_: bytes) -> None:
    """Remember the last document's hash for the next one to build on."""
    await session.execute(update(Series).where(Series.kind == kind, Series.year == year).values(last_hash=hash_))


def printed(kind: str, year: int, number: int) -> str:
    """Return a number as people read it: INV-2026-000123."""
    prefix = {"invoice": "INV", "credit_note": "CN", "quote": "QUO"}[kind]
    return f"{prefix}-{year}-{number:06d}"
