"""Finalizing: number, freeze and chain a document. Finding what was finalized."""

import secrets
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import TextClause, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.chain import digest_buyer, link_hash
from services.billing.errors import DocumentNotFound
from services.billing.models import Claim, Document, DocumentKind
from services.billing.numbering import printed, take_number
from services.billing.vat import total_of
from shared.db import tenant_of, uuid7

_COLUMNS = tuple(column.name for column in Document.__table__.columns)
_JSON = ("lines", "vat", "seller", "buyer")


@cache
def _writing(together: tuple[str, ...]) -> TextClause:
    noted = "noted AS (UPDATE series SET last_hash = :hash WHERE kind = :kind)"
    values = ", ".join(f"CAST(:{name} AS jsonb)" if name in _JSON else f":{name}" for name in _COLUMNS)
    insert = f"INSERT INTO documents ({', '.join(_COLUMNS)}) VALUES ({values})"  # noqa: S608 (columns of the model)
    return text(f"WITH {', '.join((noted, *together))} {insert}")


async def finalize(
    session: AsyncSession,
    content: dict[str, Any],
    buyer: dict[str, Any],
    *,
    today: date,
    now: datetime,
    due_in: timedelta = timedelta(),
    together: tuple[str, ...] = (),
) -> Document:
    """Number, freeze and chain a document; it never changes again, so the session does not track it.

    `content` holds kind, party_id, order_id, invoice_id, language, currency, lines, vat and seller; `buyer` is the
    personal block, which the chain covers by a salted digest only. `today` is the space's day. `together` are named
    statements that are part of the one which writes the document (each further round trip would keep the series
    locked); their parameters are the document's columns.
    """
    salt = secrets.token_bytes(32)
    buyer_digest = digest_buyer(salt, buyer)
    # As late as can be: from here on, whoever finalizes next waits for this transaction.
    taken = await take_number(session, kind=content["kind"], today=today)
    dated = {"year": taken.on.year, "number": taken.number, "issued_on": taken.on, "due_on": taken.on + due_in}
    content = {**content, **dated, "total_minor": total_of(content["lines"])}
    row = {
        **content,
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "buyer": buyer,
        "salt": salt,
        "buyer_digest": buyer_digest,
        "previous_hash": taken.previous_hash,
        "hash": link_hash(taken.previous_hash, content, buyer_digest),
        "finalized_at": now,
    }
    as_json = {name: orjson.dumps(row[name]).decode() for name in _JSON}
    await session.execute(_writing(together), {**row, **as_json})
    return Document(**row)


async def find_invoice(session: AsyncSession, order_id: UUID) -> Document | None:
    """Return an order's invoice, or None before it is issued."""
    of_order = select(Document).where(Document.order_id == order_id, Document.kind == DocumentKind.INVOICE)
    return (await session.execute(of_order)).scalar_one_or_none()


async def get_document(session: AsyncSession, document_id: UUID, *, party_id: UUID | None) -> Document:
    """Return a document; with `party_id`, only that party's. Raises DocumentNotFound."""
    document = await session.get(Document, document_id)
    if document is None or (party_id is not None and document.party_id != party_id):
        raise DocumentNotFound
    return document


async def get_invoice(session: AsyncSession, document_id: UUID) -> Document:
    """Raises DocumentNotFound, also for a credit note."""
    document = await get_document(session, document_id, party_id=None)
    if document.kind is not DocumentKind.INVOICE:
        raise DocumentNotFound
    return document


async def list_documents(
    session: AsyncSession,
    *,
    kind: DocumentKind | None,
    party_id: UUID | None,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[tuple[Document, Claim | None]]:
    """Return up to `limit + 1` documents with their claims, newest first, after (finalized_at, id)."""
    position = tuple_(Document.finalized_at, Document.id)
    statement = select(Document, Claim).join(Claim, Claim.invoice_id == Document.id, isouter=True).limit(limit + 1)
    if kind is not None:
        statement = statement.where(Document.kind == kind)
    if party_id is not None:
        statement = statement.where(Document.party_id == party_id)
    if after is not None:
        statement = statement.where(position < after)
    ordered = statement.order_by(Document.finalized_at.desc(), Document.id.desc())
    return (await session.execute(ordered)).tuples().all()


async def label_documents(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, dict[str, str]]:
    """Return {id: {text, url}} with one statement: the printed number, nothing about a buyer."""
    columns = select(Document.id, Document.kind, Document.year, Document.number).where(Document.id.in_(ids))
    return {
        row.id: {"text": printed(row.kind, row.year, row.number), "url": f"/documents/{row.id}"}
        for row in await session.execute(columns)
    }
