"""Access tokens (JWT, EdDSA, five minutes) and refresh tokens (random, chained, stored as digests)."""

import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import jwt

from services.identity.keyring import LiveKey
from services.identity.models import SessionRow
from services.identity.secrecy import UUID_BYTES, Secrecy, decode, encode
from shared.auth import ALGORITHM, AUDIENCE, ISSUER
from shared.events.identity import Role

ACCESS_LIFETIME = timedelta(minutes=5)
SERVICE_LIFETIME = timedelta(minutes=10)
SECRET_BYTES = 32
MAC_BYTES = 16


def mint_access_token(
    key: LiveKey, session: SessionRow, *, roles: set[Role], is_restricted: bool, now: datetime
) -> str:
    """Return a token that opens every service for ACCESS_LIFETIME, or until the session is revoked."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(session.account_id),
        "tid": str(session.tenant_id),
        "sid": str(session.id),
        "roles": sorted(roles),
        "auth_time": int(session.authenticated_at.timestamp()),
        "restricted": is_restricted,
        "iat": now,
        "exp": now + ACCESS_LIFETIME,
    }
    return jwt.encode(claims, key.private_key, algorithm=ALGORITHM, headers={"kid": key.id})


def mint_service_token(key: LiveKey, service: str, *, scopes: frozenset[str], now: datetime) -> str:
    """Return a token with which one service calls another's /internal routes."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "typ": "service",
        "sub": service,
        "scopes": sorted(scopes),
        "iat": now,
        "exp": now + SERVICE_LIFETIME,
    }
    return jwt.encode(claims, key.private_key, algorithm=ALGORITHM, headers={"kid": key.id})


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One link of a session's chain: the successor is an HMAC of its parent, so the same parent always gets the same.

    The text form is signed, so that only tokens that we once gave out can count as reused: whoever merely knows a
    session's id cannot end it.
    """

    tenant_id: UUID
    session_id: UUID
    secret: bytes

    @classmethod
    def first(cls, tenant_id: UUID, session_id: UUID) -> "RefreshToken":
        return cls(tenant_id, session_id, os.urandom(SECRET_BYTES))

    @classmethod
    def find(cls, token: str, secrecy: Secrecy) -> "RefreshToken | None":
        """Read a token's text; None when we never gave it out."""
        raw = decode(token)
        content, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        genuine = hmac.compare_digest(secrecy.mac("refresh.text", content)[:MAC_BYTES], mac)
        if not genuine or len(content) != 2 * UUID_BYTES + SECRET_BYTES:
            return None
        tenant, session = content[:UUID_BYTES], content[UUID_BYTES : 2 * UUID_BYTES]
        return cls(UUID(bytes=tenant), UUID(bytes=session), content[2 * UUID_BYTES :])

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.secret).digest()

    def successor(self, secrecy: Secrecy) -> "RefreshToken":
        return RefreshToken(self.tenant_id, self.session_id, secrecy.mac("refresh.successor", self.secret))

    def text(self, secrecy: Secrecy) -> str:
        content = self.tenant_id.bytes + self.session_id.bytes + self.secret
        return encode(content + secrecy.mac("refresh.text", content)[:MAC_BYTES])
