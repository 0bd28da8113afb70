"""The platform's token keys: Ed25519, sealed at rest, published before they sign and after they stop."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.models import SigningKey
from services.identity.secrecy import Secrecy, encode
from shared.db import Database, utc_now, uuid7

# Verifiers keep keys for five minutes: a key is published longer than that before it signs and after its last token.
OVERLAP = timedelta(minutes=15)
CACHED_SECONDS = 30.0
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('identity.signing_keys', 0))")


@dataclass(frozen=True, slots=True)
class LiveKey:
    """The key that signs now."""

    id: str
    private_key: Ed25519PrivateKey


class KeyRing:
    """Reads the keys, remembers them for CACHED_SECONDS, and makes the first one."""

    def __init__(self, database: Database, secrecy: Secrecy) -> None:
        self._database = database
        self._secrecy = secrecy
        self._known: tuple[LiveKey, list[dict[str, Any]]] | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def live_key(self) -> LiveKey:
        live, _ = await self._fresh()
        return live

    async def published(self) -> list[dict[str, Any]]:
        """Return the public keys (RFC 7517, RFC 8037)."""
        _, published = await self._fresh()
        return published

    async def _fresh(self) -> tuple[LiveKey, list[dict[str, Any]]]:
        async with self._reading:
            if self._known is not None and time.monotonic() - self._read_at < CACHED_SECONDS:
                return self._known
            async with self._database.transaction() as session:
                keys = await _keys(session) or [await add_key(session, self._secrecy, signs_from=utc_now())]
            live = max((key for key in keys if key.signs_from <= utc_now()), key=lambda key: key.signs_from)
            self._known = LiveKey(live.id, open_key(live, self._secrecy)), [_jwk(key) for key in keys]
            self._read_at = time.monotonic()
            return self._known


_rings: WeakKeyDictionary[Database, KeyRing] = WeakKeyDictionary()


def key_ring(database: Database, secrecy: Secrecy) -> KeyRing:
    """Return the one key ring of this database in this process."""
    ring = _rings.get(database)
    if ring is None:
        ring = _rings[database] = KeyRing(database, secrecy)
    return ring


async def add_key(session: AsyncSession, secrecy: Secrecy, *, signs_from: datetime) -> SigningKey:
    """Make a key that signs from `signs_from`; when another process has just made the first one, return that."""
    await session.execute(_LOCK)
    present = [key for key in await _keys(session) if key.signs_from >= signs_from - OVERLAP]
    if present:
        return present[0]
    private_key, key_id, now = Ed25519PrivateKey.generate(), str(uuid7()), utc_now()
    key = SigningKey(
        id=key_id,
        public_key=private_key.public_key().public_bytes_raw(),
        sealed_private_key=secrecy.seal(private_key.private_bytes_raw(), context=f"signing_keys:{key_id}"),
        created_at=now,
        signs_from=signs_from,
    )
    session.add(key)
    await session.flush()
    return key


async def rotate_if_old(session: AsyncSession, secrecy: Secrecy, *, days: int, now: datetime) -> bool:
    """Publish a successor once the newest key is `days` old, and retire older ones after the overlap; tell whether."""
    keys = await _keys(session)
    if not keys or max(key.signs_from for key in keys) > now - timedelta(days=days):
        return False
    successor = await add_key(session, secrecy, signs_from=now + OVERLAP)
    retiring = update(SigningKey).where(SigningKey.id != successor.id, SigningKey.retires_at.is_(None))
    await session.execute(retiring.values(retires_at=now + OVERLAP * 2))
    return True


async def delete_retired(session: AsyncSession, *, now: datetime) -> None:
    await session.execute(delete(SigningKey).where(SigningKey.retires_at < now))


def open_key(key: SigningKey, secrecy: Secrecy) -> Ed25519PrivateKey:
    """Return the private key. Raises ValueError when the settings' secret is not the one that sealed it."""
    return Ed25519PrivateKey.from_private_bytes(
        secrecy.unseal(key.sealed_private_key, context=f"signing_keys:{key.id}")
    )


async def _keys(session: AsyncSession) -> list[SigningKey]:
    unretired = SigningKey.retires_at.is_(None) | (SigningKey.retires_at > utc_now())
    return list((await session.scalars(select(SigningKey).where(unretired).order_by(SigningKey.signs_from))).all())


def _jwk(key: SigningKey) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id, "x": encode(key.public_key)}
