"""Handing a tenant's legal archive to a keeper: a folder that proves itself, without this software and without a database.

    invoices/2026/INV-2026-000001.pdf …   credit-notes/…   printed anew from the frozen rows, byte for byte as ever
    documents.jsonl                       every invoice and credit note with what the hash chain covers
    quotes.jsonl                          every quote that is kept, each revision
    index.csv                             one line each: number, kind, date, amounts (minor units), hashes, file
    manifest.json                         who keeps it, the chain's state, and size and SHA-256 of each file
    SHA256SUMS                            the same for `sha256sum -c`

While it is being written it holds a file `.unfinished`, and a second call goes on where the first one stopped.
"""

import asyncio
import csv
import hashlib
import io
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import select

from services.billing.archive import (
    INDEX,
    ArchivedDocument,
    count_documents,
    quote_index_row,
    quote_record,
    walk_documents,
    walk_quotes,
)
from services.billing.chain import ChainReport, verify_chain
from services.billing.pdf import print_in_thread
from shared.db import Database
from shared.privacy.tables import tenants

log = structlog.get_logger()
FORMAT = "cowork-archive/1"
UNFINISHED, MANIFEST, SUMS = ".unfinished", "manifest.json", "SHA256SUMS"
DOCUMENTS, QUOTES, INDEX_FILE, README = "documents.jsonl", "quotes.jsonl", "index.csv", "README.txt"
# Prints on their way at once: a few for each core.
BATCH = 16
OWNER_ONLY, OWNER_ONLY_FOLDER = 0o600, 0o700
Say = Callable[[int, int], None]

ABOUT = """\
Archive légale des factures, avoirs et devis. / Legal archive of invoices, credit notes and quotes.

Vérifier les fichiers / check the files:       sha256sum -c SHA256SUMS
index.csv: une ligne par document, montants en centimes / one line per document, amounts in minor units.
documents.jsonl: hash = SHA-256(previous_hash + JSON + buyer_digest), JSON = kind, year, number, party_id, order_id, invoice_id,
issued_on, due_on, language, currency, lines, vat, total_minor, seller; clés triées, sans espaces / keys sorted, no spaces, UTF-8.
buyer_digest = SHA-256(salt + JSON(buyer)). previous_hash: le document précédent de la même sorte / the document before of the
same kind. Numéros sans lacune / numbers without gaps.
"""


class FolderRefused(RuntimeError):
    """The folder holds something that is no unfinished archive of this tenant: nothing in it is touched."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as billing knows it; a deactivated one is still there."""

    id: UUID
    slug: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Handed:
    """What was handed over."""

    documents: int
    quotes: int
    chain: ChainReport


async def find_tenant(database: Database, named: str) -> Tenant | None:
    """Return a tenant by its id or slug, or None."""
    try:
        wanted = tenants.c.tenant_id == UUID(named)
    except ValueError:
        wanted = tenants.c.slug == named
    columns = select(tenants.c.tenant_id, tenants.c.slug, tenants.c.is_active)
    async with database.transaction() as session:
        row = (await session.execute(columns.where(wanted))).one_or_none()
    return None if row is None else Tenant(*row)


async def hand_over(
    database: Database, tenant: Tenant, folder: Path, *, keeper: str, now: datetime, say: Say
) -> Handed:
    """Write a tenant's archive into an empty folder, or finish one that was begun there; `say(done, total)` counts documents.

    The archive is written whole even when the chain does not verify, and its manifest says so. Raises FolderRefused.
    """
    archive = _Archive.open(folder, tenant.id)
    async with database.transaction(tenant.id) as session:
        # First, so that whatever was verified is exported: later documents only come after it.
        chain = await verify_chain(session)
    total = await count_documents(database, tenant.id)
    with archive.writing(DOCUMENTS) as lines, archive.writing(INDEX_FILE) as index:
        rows = csv.writer(index, lineterminator="\n")
        rows.writerow(INDEX)
        documents, heads = 0, dict[str, dict[str, str]]()
        async for batch in _batches(walk_documents(database, tenant.id)):
            digests = await asyncio.gather(*(archive.keep_print(one) for one in batch))
            for one, digest in zip(batch, digests, strict=True):
                record = one.record()
                lines.write(orjson.dumps({**record, "file": one.path, "sha256": digest}).decode() + "\n")
                rows.writerow(one.index_row(digest))
                heads[record["kind"]] = {"number": record["printed_number"], "hash": record["hash"]}
            documents += len(batch)
            say(documents, max(total, documents))
        quotes = await _write_quotes(database, tenant, archive, rows)
    archive.write(README, ABOUT.encode())
    counts = {"documents": documents, "quotes": quotes}
    verified = {"checked": chain.checked, "broken_at": chain.broken_at, "heads": heads}
    archive.finish({**_about(tenant, keeper, now), "counts": counts, "chain": verified})
    log.info("archive.exported", tenant_id=str(tenant.id), count=documents)
    return Handed(documents, quotes, chain)


async def _write_quotes(database: Database, tenant: Tenant, archive: "_Archive", index: Any) -> int:
    count = 0
    with archive.writing(QUOTES) as lines:
        async for quote in walk_quotes(database, tenant.id):
            lines.write(orjson.dumps(quote_record(quote)).decode() + "\n")
            index.writerow(quote_index_row(quote, QUOTES))
            count += 1
    return count


def _about(tenant: Tenant, keeper: str, now: datetime) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "tenant_id": str(tenant.id),
        "tenant": tenant.slug,
        "is_active": tenant.is_active,
        "keeper": keeper,
        "handed_over_at": now.isoformat(),
    }


async def _batches(documents: AsyncIterator[ArchivedDocument]) -> AsyncIterator[list[ArchivedDocument]]:
    batch: list[ArchivedDocument] = []
    async for one in documents:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass
class _Archive:
    """The folder being filled. `known` are the prints that an earlier, interrupted call has finished: SHA-256 by path."""

    folder: Path
    known: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, tenant_id: UUID) -> "_Archive":
        journal = folder / UNFINISHED
        if not journal.exists():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise FolderRefused(f"{folder} is not empty")
            folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
            _append(journal, f"{tenant_id}\n")
        begun_for, *lines = journal.read_text().splitlines() or [""]
        if begun_for != str(tenant_id):
            raise FolderRefused(f"{folder} holds the unfinished archive of another tenant")
        # A line that was torn by a crash names no path that exists.
        return cls(folder, {path: digest for digest, _, path in (line.partition("  ") for line in lines)})

    async def keep_print(self, one: ArchivedDocument) -> str:
        """Print a document into the folder, unless its print is there and whole; return its SHA-256."""
        digest = self.known.get(one.path)
        if digest is None or not await asyncio.to_thread(self._is_intact, one.path, digest):
            content = await print_in_thread(one.document, credited=one.credited)
            digest = await asyncio.to_thread(self.write, one.path, content)
            _append(self.folder / UNFINISHED, f"{digest}  {one.path}\n")
        self.files[one.path] = digest
        return digest

    def write(self, path: str, content: bytes) -> str:
        """Put a file in place whole; return its SHA-256."""
        with self.writing(path) as file:
            file.buffer.write(content)
        return self.files[path]

    @contextmanager
    def writing(self, path: str) -> Iterator[io.TextIOWrapper]:
        """Yield a file that takes its place, readable by its owner only, when the body has ended well."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=OWNER_ONLY_FOLDER)
        fresh = target.with_name(target.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
        self.files[path] = _digest(target)

    def finish(self, manifest: dict[str, Any]) -> None:
        listed = [
            {"path": path, "bytes": (self.folder / path).stat().st_size, "sha256": digest}
            for path, digest in sorted(self.files.items())
        ]
        self.write(MANIFEST, json.dumps({**manifest, "files": listed}, indent=2, ensure_ascii=False).encode() + b"\n")
        sums = "".join(f"{digest}  {path}\n" for path, digest in sorted(self.files.items()))
        self.write(SUMS, sums.encode())
        (self.folder / UNFINISHED).unlink()

    def _is_intact(self, path: str, digest: str) -> bool:
        target = self.folder / path
        return target.is_file() and _digest(target) == digest


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(line)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
