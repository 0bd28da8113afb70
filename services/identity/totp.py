"""Time-based one-time passwords (RFC 6238: SHA-1, 6 digits, 30 seconds) and recovery codes."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from urllib.parse import quote, urlencode

STEP_SECONDS = 30
DIGITS = 6
SECRET_BYTES = 20
# A code is accepted one step early or late: clocks differ.
DRIFT_STEPS = 1
RECOVERY_CODES = 10


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def code_at(secret: bytes, step: int) -> str:
    """Return the code of a time step (HOTP, RFC 4226 §5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 0xF
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def find_step(secret: bytes, code: str, *, now: datetime, after: int) -> int | None:
    """Return the time step that `code` is valid for now, if it is later than the one used last."""
    current = int(now.timestamp()) // STEP_SECONDS
    steps = range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1)
    matching = [step for step in steps if hmac.compare_digest(code_at(secret, step).encode(), code.encode())]
    return next((step for step in matching if step > after), None)


def uri(secret: bytes, *, issuer: str, account: str) -> str:
    """Return the otpauth:// address that authenticator apps read from a QR code."""
    parameters = urlencode({"secret": text(secret), "issuer": issuer, "digits": DIGITS, "period": STEP_SECONDS})
    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?{parameters}"


def text(secret: bytes) -> str:
    """Return the secret as people type it."""
    return base64.b32encode(secret).decode().rstrip("=")


def new_recovery_codes() -> list[str]:
    """Return codes of 50 random bits, in the alphabet of base32, as `ABCDE-FGHIJ`."""
    raw = [base64.b32encode(secrets.token_bytes(7)).decode()[:10] for _ in range(RECOVERY_CODES)]
    return [f"{code[:5]}-{code[5:]}" for code in raw]
