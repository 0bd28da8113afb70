"""Everything that is keyed by the settings' one secret: sealing at rest, digests and tokens that need no storage."""

import base64
import hashlib
import hmac
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
UUID_BYTES = 16


class Secrecy:
    """Keys derived from one secret, each for one purpose, so that no output of one serves as another's."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._box = AESGCM(self._key("seal"))

    def seal(self, plain: bytes, *, context: str) -> bytes:
        """Encrypt (AES-256-GCM), bound to `context`: a sealed value moved to another row does not open."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._box.encrypt(nonce, plain, context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Return what `seal` took. Raises ValueError when secret or context differ."""
        try:
            return self._box.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
        except InvalidTag as error:
            raise ValueError("sealed with another secret or for another place") from error

    def digest(self, purpose: str, *parts: str) -> bytes:
        """Return a keyed digest that only this service can compute."""
        return hmac.digest(self._key(purpose), "\n".join(parts).encode(), hashlib.sha256)

    def mac(self, purpose: str, content: bytes) -> bytes:
        return hmac.digest(self._key(purpose), content, hashlib.sha256)

    def link_token(self, link_id: UUID) -> str:
        """Return the token of a mailed link; it is computed, never stored."""
        return encode(link_id.bytes + self.mac("link", link_id.bytes))

    def find_link_id(self, token: str) -> UUID | None:
        """Return the link that a genuine token opens, else None."""
        raw = decode(token)
        link_id, given = raw[:UUID_BYTES], raw[UUID_BYTES:]
        if len(raw) != UUID_BYTES + 32 or not hmac.compare_digest(self.mac("link", link_id), given):
            return None
        return UUID(bytes=link_id)

    def _key(self, purpose: str) -> bytes:
        return hmac.digest(self._secret, purpose.encode(), hashlib.sha256)


def encode(raw: bytes) -> str:
    """Return URL-safe text without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(token: str) -> bytes:
    """Return the bytes of URL-safe text; nothing for text that is none."""
    try:
        return base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (ValueError, UnicodeEncodeError):
        return b""
