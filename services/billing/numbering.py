"""Numbers without gaps: the next one is taken from a locked row, inside the transaction that finalizes.

CGI ann. II art. 242 nonies A: a unique number in a chronological and continuous series.
"""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import tenant_of

PREFIXES = {"invoice": "INV", "credit_note": "CN", "quote": "QUO"}


@dataclass(frozen=True, slots=True)
class Taken:
    """The number that this transaction holds; it exists only if the transaction commits."""

    number: int
    on: date
    previous_hash: bytes | None


# The day never goes back: whoever waited over midnight must not be dated before the number before.
_TAKE = text("""
INSERT INTO series AS s (tenant_id, kind, last_on, last_number) VALUES (:tenant, :kind, :today, 1)
ON CONFLICT (tenant_id, kind) DO UPDATE SET
 last_number = CASE WHEN extract(year FROM excluded.last_on) > extract(year FROM s.last_on) THEN 1
  ELSE s.last_number + 1 END,
 last_on = greatest(s.last_on, excluded.last_on)
RETURNING last_number, last_on, last_hash
""")


async def take_number(session: AsyncSession, *, kind: str, today: date) -> Taken:
    """Take the next number of the tenant's series; others wait here until this transaction ends.

    Numbers start again each year. `on` is the date to put on the document: today, or the date of the number before
    when that is later.
    """
    parameters = {"tenant": tenant_of(session), "kind": kind, "today": today}
    return Taken(*(await session.execute(_TAKE, parameters)).one())


def printed(kind: str, year: int, number: int) -> str:
    """Return a number as people read it: INV-2026-000123."""
    return f"{PREFIXES[kind]}-{year}-{number:06d}"
