"""One-click unsubscribe (RFC 8058): a signed token in the mail's header, no sign-in, effective at once."""

import base64
import binascii
import hashlib
import hmac
from uuid import UUID

from services.notify.errors import InvalidUnsubscribeLink
from services.notify.kinds import Kind

SIGNATURE_BYTES = 16


def sign(key: str, tenant_id: UUID, account_id: UUID, kind: Kind) -> str:
    """Return the token that switches one kind of mail off for one account."""
    content = tenant_id.bytes + account_id.bytes + kind.encode()
    return base64.urlsafe_b64encode(_signature(key, content) + content).decode().rstrip("=")


def read(key: str, token: str) -> tuple[UUID, UUID, Kind]:
    """Return (tenant, account, kind) of a genuine token. Raises InvalidUnsubscribeLink."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        signature, content = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, _signature(key, content)):
            raise InvalidUnsubscribeLink
        return UUID(bytes=content[:16]), UUID(bytes=content[16:32]), Kind(content[32:].decode())
    except (ValueError, binascii.Error) as error:
        raise InvalidUnsubscribeLink from error


def _signature(key: str, content: bytes) -> bytes:
    return hmac.digest(key.encode(), b"unsubscribe" + content, hashlib.sha256)[:SIGNATURE_BYTES]
