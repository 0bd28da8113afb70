"""The legal archive of a tenant, as it is handed to a keeper: documents and quotes as they were issued, and their proof.

Nothing here writes. Pages are read in transactions of their own: finalized documents never change and their series only
grow, so that what was issued before the first page is there whole.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, tuple_

from services.billing.chain import COVERED
from services.billing.models import Document, DocumentKind, Quote
from services.billing.numbering import printed
from services.billing.vat import vat_of
from shared.db import Database

PAGE = 100
FOLDERS = {DocumentKind.INVOICE: "invoices", DocumentKind.CREDIT_NOTE: "credit-notes"}
INDEX = (
    "number",
    "kind",
    "issued_on",
    "currency",
    "net_minor",
    "vat_minor",
    "total_minor",
    "chain_hash",
    "file",
    "sha256",
)


@dataclass(frozen=True, slots=True)
class ArchivedDocument:
    """An issued invoice or credit note, with the invoice that a credit note credits (its print names it)."""

    document: Document
    credited: Document | None

    @property
    def path(self) -> str:
        """Where its print goes in the archive: `invoices/2026/INV-2026-000123.pdf`."""
        document = self.document
        return f"{FOLDERS[document.kind]}/{document.year}/{_number(document)}.pdf"

    def record(self) -> dict[str, Any]:
        """Return the whole row as JSON can hold it: with the salt, whoever has the archive can verify the chain alone."""
        document = self.document
        binary = ("salt", "buyer_digest", "previous_hash", "hash")
        content = {name: _plain(getattr(document, name)) for name in ("id", *COVERED, "buyer", "finalized_at")}
        proof = {name: value.hex() if (value := getattr(document, name)) is not None else None for name in binary}
        return {"printed_number": _number(document), **content, **proof}

    def index_row(self, sha256: str) -> list[Any]:
        """Return its line of the index, by the columns of INDEX; amounts are minor units."""
        document = self.document
        net = sum(rate["base_minor"] for rate in document.vat)
        totals = [document.currency, net, document.total_minor - net, document.total_minor]
        return [_number(document), document.kind, document.issued_on, *totals, document.hash.hex(), self.path, sha256]


async def walk_documents(database: Database, tenant_id: UUID) -> AsyncIterator[ArchivedDocument]:
    """Yield every invoice and credit note of a tenant, by kind, year and number: the order of their chains."""
    position = tuple_(Document.kind, Document.year, Document.number)
    after: tuple[Any, ...] | None = None
    while True:
        statement = select(Document).order_by(Document.kind, Document.year, Document.number).limit(PAGE)
        if after is not None:
            statement = statement.where(position > after)
        async with database.transaction(tenant_id) as session:
            page = (await session.scalars(statement)).all()
            wanted = [document.invoice_id for document in page if document.invoice_id is not None]
            invoices = (await session.scalars(select(Document).where(Document.id.in_(wanted)))).all()
        credited = {invoice.id: invoice for invoice in invoices}
        for document in page:
            yield ArchivedDocument(document, credited.get(document.invoice_id) if document.invoice_id else None)
        if len(page) < PAGE:
            return
        after = (page[-1].kind, page[-1].year, page[-1].number)


async def count_documents(database: Database, tenant_id: UUID) -> int:
    async with database.transaction(tenant_id) as session:
        return await session.scalar(select(func.count()).select_from(Document)) or 0


async def walk_quotes(database: Database, tenant_id: UUID) -> AsyncIterator[Quote]:
    """Yield every quote that is still kept, each revision, in the order in which they were issued."""
    after: UUID | None = None
    while True:
        statement = select(Quote).order_by(Quote.id).limit(PAGE)
        if after is not None:
            statement = statement.where(Quote.id > after)
        async with database.transaction(tenant_id) as session:
            page: Sequence[Quote] = (await session.scalars(statement)).all()
        for quote in page:
            yield quote
        if len(page) < PAGE:
            return
        after = page[-1].id


QUOTED = (
    "id", "year", "number", "revision", "party_id", "issued_on", "valid_until", "state", "accepted_on", "currency", "lines",
    "total_minor", "buyer", "order_id",
)  # fmt: skip


def quote_record(quote: Quote) -> dict[str, Any]:
    """Return a quote as JSON can hold it; who of the staff has issued it is no part of what was issued."""
    content = {name: _plain(getattr(quote, name)) for name in QUOTED}
    return {"printed_number": _quote_number(quote), **content}


def quote_index_row(quote: Quote, file: str) -> list[Any]:
    """Return a quote's line of the index. Quotes are in no chain, and were never printed: they are lines of `file`."""
    net = sum(rate["base_minor"] for rate in vat_of(quote.lines))
    totals = [quote.currency, net, quote.total_minor - net, quote.total_minor]
    return [_quote_number(quote), "quote", quote.issued_on, *totals, "", file, ""]


def _number(document: Document) -> str:
    return printed(document.kind, document.year, document.number)


def _quote_number(quote: Quote) -> str:
    return f"{printed('quote', quote.year, quote.number)}/{quote.revision}"


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, int | list | dict) or value is None else str(value)
