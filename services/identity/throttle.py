"""Back-off after failures, per device and account, per client address, and per account; nobody is locked out by others.

A pair of account and client address that was let in before is never held up by what others do to the account.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Integer, case, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.errors import TooManyAttempts
from services.identity.models import Attempts
from services.identity.secrecy import Secrecy
from shared.db import tenant_of

WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Patience:
    """`free` failures cost nothing, each further one doubles the wait up to `longest` seconds."""

    free: int
    longest: int


PAIR = Patience(free=5, longest=900)
ADDRESS = Patience(free=50, longest=900)
# Short, because it is the one that a third party can raise against somebody.
ACCOUNT = Patience(free=30, longest=30)


@dataclass(frozen=True, slots=True)
class Counters:
    """The three counters of one attempt, by keyed digest."""

    pair: bytes
    address: bytes
    account: bytes

    @classmethod
    def of(cls, secrecy: Secrecy, *, tenant: str, email: str, address: str) -> "Counters":
        return cls(
            pair=secrecy.digest("attempts", tenant, "pair", email, address),
            address=secrecy.digest("attempts", tenant, "address", address),
            account=secrecy.digest("attempts", tenant, "account", email),
        )

    def with_patience(self) -> list[tuple[bytes, Patience]]:
        """In the order of their digests: two attempts lock shared counters in the same order."""
        return sorted([(self.pair, PAIR), (self.address, ADDRESS), (self.account, ACCOUNT)], key=lambda each: each[0])


async def check_patience(session: AsyncSession, counters: Counters, *, now: datetime) -> None:
    """Raises TooManyAttempts, with the seconds to wait, while one of the counters holds this attempt up."""
    columns = select(Attempts.digest, Attempts.blocked_until, Attempts.succeeded_at)
    wanted = columns.where(Attempts.digest.in_([counters.pair, counters.address, counters.account]))
    found = {row.digest: row for row in await session.execute(wanted)}
    pair = found.get(counters.pair)
    if pair is not None and pair.succeeded_at is not None:
        found.pop(counters.account, None)
    wait = max((row.blocked_until - now for row in found.values()), default=timedelta())
    if wait > timedelta():
        raise TooManyAttempts(seconds=max(1, round(wait.total_seconds())))


async def count_failure(session: AsyncSession, counters: Counters, *, now: datetime) -> None:
    for digest, patience in counters.with_patience():
        await _count(session, digest, patience, now=now)


async def count_call(session: AsyncSession, digest: bytes, patience: Patience, *, now: datetime) -> None:
    """Count one call of something that may be called often, but not very often. Raises TooManyAttempts."""
    blocked_until = await session.scalar(select(Attempts.blocked_until).where(Attempts.digest == digest))
    if blocked_until is not None and blocked_until > now:
        raise TooManyAttempts(seconds=max(1, round((blocked_until - now).total_seconds())))
    await _count(session, digest, patience, now=now)


async def count_success(session: AsyncSession, counters: Counters, *, now: datetime) -> None:
    """Forget the pair's failures and remember that it was let in."""
    fresh = {"failures": 0, "blocked_until": now, "updated_at": now, "succeeded_at": now}
    row = insert(Attempts).values(digest=counters.pair, tenant_id=tenant_of(session), **fresh)
    await session.execute(row.on_conflict_do_update(index_elements=[Attempts.digest], set_=fresh))


async def _count(session: AsyncSession, digest: bytes, patience: Patience, *, now: datetime) -> None:
    failures = case((Attempts.updated_at < now - WINDOW, 1), else_=Attempts.failures + 1)
    excess = func.least(failures - patience.free, 12)
    seconds = case((excess > 0, func.least(func.power(2, excess), patience.longest)), else_=0)
    row = insert(Attempts).values(
        digest=digest, tenant_id=tenant_of(session), failures=1, blocked_until=now, updated_at=now
    )
    counted = {
        "failures": failures,
        "blocked_until": literal(now) + func.make_interval(0, 0, 0, 0, 0, 0, cast(seconds, Integer)),
        "updated_at": now,
    }
    await session.execute(row.on_conflict_do_update(index_elements=[Attempts.digest], set_=counted))
