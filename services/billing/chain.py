"""The hash chain of finalized documents: any change, insertion or removal after the fact shows."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.models import Document, Series
from services.billing.numbering import printed

# What the chain covers besides the buyer's digest; the personal block itself may go after its legal time.
COVERED = (
    "kind", "year", "number", "party_id", "order_id", "invoice_id", "issued_on", "due_on", "language", "currency",
    "lines", "vat", "total_minor", "seller",
)  # fmt: skip
BATCH = 1000


@dataclass(frozen=True, slots=True)
class ChainReport:
    """How many documents were checked and the printed number of the first that does not fit, if any."""

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
    """Recompute every chain of the tenant, in order, up to where its series stands.

    Documents whose buyer is still there prove their digest, too. A document that was changed, removed or added shows,
    the last one of its kind included.
    """
    heads = {row.kind: row for row in await session.execute(_HEADS)}
    checked, last = 0, dict[str, Document]()
    statement = select(Document).order_by(Document.kind, Document.year, Document.number)
    async for document in (await session.stream(statement.execution_options(yield_per=BATCH))).scalars():
        if not _fits(document, last.get(document.kind)):
            return ChainReport(checked, printed(document.kind, document.year, document.number))
        last[document.kind] = document
        head = heads.get(document.kind)
        if head is not None and head.last_hash == document.hash:
            del heads[document.kind]
        checked += 1
    # What is left is a series whose last document was not met.
    missing = [printed(head.kind, head.last_on.year, head.last_number) for head in heads.values()]
    return ChainReport(checked, missing[0] if missing else None)


# Read before the documents: what is finalized meanwhile comes after these.
_HEADS = select(Series.kind, Series.last_on, Series.last_number, Series.last_hash).where(Series.last_hash.is_not(None))


def _fits(document: Document, previous: Document | None) -> bool:
    content = {name: getattr(document, name) for name in COVERED}
    is_buyer_genuine = document.buyer is None or (
        document.salt is not None and digest_buyer(document.salt, document.buyer) == document.buyer_digest
    )
    return (
        document.number == _number_after(previous, document.year)
        and document.previous_hash == (previous.hash if previous else None)
        and document.hash == link_hash(document.previous_hash, content, document.buyer_digest)
        and is_buyer_genuine
    )


def _number_after(previous: Document | None, year: int) -> int:
    return previous.number + 1 if previous is not None and previous.year == year else 1
