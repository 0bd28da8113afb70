"""Numbers without gaps: the next one is taken from a locked row, inside the transaction that finalizes.

CGI ann. II art. 242 nonies A: a unique number in a chronological and continuous series.
"""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import case, extract, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.models import Series
from shared.db import tenant_of

PREFIXES = {"invoice": "INV", "credit_note": "CN", "quote": "QUO"}


@dataclass(frozen=True, slots=True)
class Taken:
    """The number that this transaction holds; it exists only if the transaction commits."""

    number: int
    on: date
    previous_hash: bytes | None


async def take_number(session: AsyncSession, *, kind: str, today: date) -> Taken:
    """Take the next number of the tenant's series; others wait here until this transaction ends.

    Numbers start again each year. `on` is the date to put on the document: today, or the date of the number before
    when that is later, because whoever waited over midnight must not be dated before its predecessor.
    """
    row = {"tenant_id": tenant_of(session), "kind": kind, "last_on": today, "last_number": 1}
    statement = insert(Series).values(row)
    is_new_year = extract("year", statement.excluded.last_on) > extract("year", Series.last_on)
    following = statement.on_conflict_do_update(
        index_elements=["tenant_id", "kind"],
        set_={
            "last_number": case((is_new_year, 1), else_=Series.last_number + 1),
            "last_on": func.greatest(Series.last_on, statement.excluded.last_on),
        },
    )
    taken = await session.execute(following.returning(Series.last_number, Series.last_on, Series.last_hash))
    return Taken(*taken.one())


async def note_hash(session: AsyncSession, *, kind: str, hash_: bytes) -> None:
    """Remember the last document's hash for the next one to build on."""
    await session.execute(update(Series).where(Series.kind == kind).values(last_hash=hash_))


def printed(kind: str, year: int, number: int) -> str:
    """Return a number as people read it: INV-2026-000123."""
    return f"{PREFIXES[kind]}-{year}-{number:06d}"
