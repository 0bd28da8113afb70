"""The address of an erasure case, which outlives the account."""

from uuid import UUID


def case_url(public_url: str, case_id: UUID) -> str:
    """Return where whoever holds it can follow a case; the id is random (122 bits) and told to the person alone."""
    return f"{public_url}/api/privacy/v1/cases/{case_id}"
