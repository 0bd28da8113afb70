"""The hash chain of finalized documents: any change, insertion or removal after the fact shows."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.models import Document

# What the chain covers besides the buyer's digest; the personal block itself may go after its legal time.
COVERED = (
    "kind", "year", "number", "party_id", "order_id", "invoice_id", "issued_on", "due_on", "language", "currency",
    "lines", "vat", "total_minor", "seller",
)  # fmt: skip
BATCH = 1000


@dataclass(frozen=True, slots=True)
class ChainReport:
    """How many documents were checked and the first that does not fit, if any."""

    checked: int
    broken_at: str | None


def digest_buyer(salt: bytes, buyer: dict[str, Any]) -> bytes:
    """H(salt ‖ personal block): once the salt is gone, the digest says nothing about anybody."""
    return hashlib.sha256(salt + orjson.dumps(buyer, option=orjson.OPT_SORT_KEYS)).digest()


def link_hash(previous: bytes | None, content: dict[str, Any], buyer_digest: bytes) -> bytes:
    """Return a document's hash, which covers its predecessor's."""
    covered = {name: _plain(content[name]) for name in COVERED}
    return hashlib.sha256(
        (previous or b"") + orjson.dumps(covered, option=orjson.OPT_SORT_KEYS) + buyer_digest
    ).digest()


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | str | list | dict) or value is None else str(value)


async def verify_chain(session: AsyncSession) -> ChainReport:
    """Recompute every chain of the tenant, in order; documents whose buyer is still there prove their digest, too."""
    checked = 0
    last: dict[tuple[str, int], tuple[int, bytes | None]] = {}
    statement = select(Document).order_by(Document.kind, Document.year, Document.number)
    async for document in (await session.stream(statement.execution_options(yield_per=BATCH))).scalars():
        series = document.kind, document.year
        number, previous = last.get(series, (0, None))
        if not _fits(document, number, previous):
            return ChainReport(checked, f"{document.kind}-{document.year}-{document.number}")
        last[series] = document.number, document.hash
        checked += 1
    return ChainReport(checked, None)


def _fits(document: Document, number: int, previous: bytes | None) -> bool:
    content = {name: getattr(document, name) for name in COVERED}
    is_buyer_genuine = document.buyer is None or (
        document.salt is not None and digest_buyer(document.salt, document.buyer) == document.buyer_digest
    )
    return (
        document.number == number + 1
        and document.previous_hash == previous
        and document.hash == link_hash(previous, content, document.buyer_digest)
        and is_buyer_genuine
    )
