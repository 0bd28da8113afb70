"""Hashing passwords: argon2id off the event loop, in a bounded pool, always the same work."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from services.identity.errors import SignInBusy

Answer = TypeVar("Answer")

# OWASP's parameters: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
WORKERS = 2
MOST_WAITING = 400
# Verified against when there is no account, so that both answers take the same work.
_NOBODY = _hasher.hash("nobody's password")


class _Pool:
    """Two threads (argon2 releases the interpreter), and a queue that refuses rather than grows."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="argon2")
        self._waiting = 0

    async def run(self, work: Callable[..., Answer], *arguments: object) -> Answer:
        if self._waiting >= MOST_WAITING:
            raise SignInBusy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1


_pool = _Pool()


async def digest_password(password: str) -> str:
    """Return the argon2id hash. Raises SignInBusy when too many wait."""
    return await _pool.run(_hasher.hash, password)


async def is_password(password_hash: str | None, password: str) -> bool:
    """Whether `password` is the one of `password_hash`; without a hash, False after the same work."""
    is_right = await _pool.run(_verify, password_hash or _NOBODY, password)
    return is_right and password_hash is not None


async def is_any_password(password_hashes: list[str], password: str) -> bool:
    """Whether `password` is one of several past ones."""
    return any([await _pool.run(_verify, past, password) for past in password_hashes])


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(password_hash)


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
