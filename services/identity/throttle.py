"""Back-off after failures, per device and account, per client address, and per account; nobody is locked out by others.

A pair of account and client address that was let in before is held up by its own failures only, never by what others
do to the account or from the address: the members of a space share one public address.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.errors import TooManyAttempts
from services.identity.secrecy import Secrecy
from shared.db import fetch, tenant_of

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


# Statements of every sign-in are built once: building them costs more than running them.
_BLOCKS = "SELECT digest, blocked_until, succeeded_at FROM attempts WHERE digest = ANY($1)"
_FAILED = text(
    "INSERT INTO attempts (digest, tenant_id, failures, blocked_until, updated_at)"
    " VALUES (:digest, :tenant, 1, :now, :now) ON CONFLICT (digest) DO UPDATE SET updated_at = :now,"
    " failures = CASE WHEN attempts.updated_at < :since THEN 1 ELSE attempts.failures + 1 END,"
    " blocked_until = CASE WHEN attempts.updated_at < :since OR attempts.failures < :free THEN :now"
    " ELSE :now + make_interval(secs => least(power(2, least(attempts.failures + 1 - :free, 12)), :longest)) END"
)


async def check_patience(session: AsyncSession, counters: Counters, *, now: datetime) -> None:
    """Raises TooManyAttempts, with the seconds to wait, while one of the counters holds this attempt up."""
    digests = [counters.pair, counters.address, counters.account]
    found = {row["digest"]: row for row in await fetch(session, _BLOCKS, digests)}
    pair = found.get(counters.pair)
    if pair is not None and pair["succeeded_at"] is not None:
        found = {counters.pair: pair}
    _check_wait(max((row["blocked_until"] for row in found.values()), default=now), now=now)


async def count_failure(session: AsyncSession, counters: Counters, *, now: datetime) -> None:
    for digest, patience in counters.with_patience():
        await _count(session, digest, patience, now=now)


async def count_call(session: AsyncSession, digest: bytes, patience: Patience, *, now: datetime) -> None:
    """Count one call of something that may be called often, but not very often. Raises TooManyAttempts."""
    for blocked in await fetch(session, _BLOCKS, [digest]):
        _check_wait(blocked["blocked_until"], now=now)
    await _count(session, digest, patience, now=now)


async def _count(session: AsyncSession, digest: bytes, patience: Patience, *, now: datetime) -> None:
    key = {"digest": digest, "tenant": tenant_of(session), "now": now, "since": now - WINDOW}
    await session.execute(_FAILED, {**key, "free": patience.free, "longest": patience.longest})


def _check_wait(blocked_until: datetime, *, now: datetime) -> None:
    if blocked_until > now:
        raise TooManyAttempts(seconds=max(1, round((blocked_until - now).total_seconds())))
