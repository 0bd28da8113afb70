"""Collecting a person's copy: every service's JSON and files in one ZIP, with a page to read and checksums."""

import asyncio
import hashlib
import html
import io
import zipfile
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog
from sqlalchemy import func, select, update

from services.privacy.models import DataExport, ExportState
from services.privacy.pages import page
from shared.bus import publish
from shared.bus.crash import crash
from shared.db import Database
from shared.events import SERVICES
from shared.events.privacy import ExportCompleted
from shared.files import Files
from shared.internal import Internal
from shared.privacy.retention import tenant_ids
from shared.problems import NotFound

log = structlog.get_logger()
FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=2), timedelta(hours=1)
# With these delays the last attempt comes after about two days.
MAX_ATTEMPTS = 60
NOTE_SECONDS = 0.5
TITLE = {"fr": "Vos données", "en": "Your data"}
MISSING = {
    "fr": "Ces fichiers n'ont pas été retrouvés et manquent dans cette copie :",
    "en": "These files could not be found and are missing from this copy:",
}


async def collect_waiting(database: Database, internal: Internal, files: Files, tenant_id: UUID) -> None:
    """Collect a tenant's exports that are due; one that cannot be collected is tried again later, ever less often."""
    due = select(DataExport).where(DataExport.state == ExportState.WAITING, DataExport.due_at <= func.now())
    async with database.transaction(tenant_id) as session:
        exports = list((await session.execute(due.order_by(DataExport.created_at))).scalars())
    for export in exports:
        try:
            await _export(database, internal, files, export)
        except Exception as error:
            # Whatever is wrong with one person's copy: nobody else waits for it.
            log.warning("export.waits", export_id=str(export.id), attempt=export.attempts + 1, exc_info=error)
            if export.attempts + 1 >= MAX_ATTEMPTS:
                await _give_up(database, export)


def delay_after(attempts: int) -> timedelta:
    """Return how long an export waits that has been tried `attempts` times before: twice as long each time, to an hour."""
    return min(FIRST_DELAY * (1 << min(attempts, 16)), LONGEST_DELAY)


async def delete_unnamed(database: Database, files: Files) -> int:
    """Delete the copies that no export names, and return how many.

    A person may be erased while their copy is written, and the worker end before it can take the copy away again.
    """
    # Listed first: a file is named before it is written, so whatever is listed and not named has lost its row.
    listed = files.keys()
    stored = {key async for key in listed}
    for tenant_id in await tenant_ids(database) if stored else ():
        async with database.transaction(tenant_id) as session:
            stored -= set(await session.scalars(select(DataExport.key).where(DataExport.key.is_not(None))))
    for key in stored:
        await files.delete(key)
    return len(stored)


async def _export(database: Database, internal: Internal, files: Files, export: DataExport) -> None:
    key = await _begin(database, export)
    if key is None:
        return
    collected = await _collect(database, internal, export)
    archive = await asyncio.to_thread(build_archive, collected, export.language)
    await files.put(key, archive)
    crash("export.after_put")
    if not await _finish(database, export):
        await files.delete(key)


async def _begin(database: Database, export: DataExport) -> str | None:
    """Count an attempt and return the name that its file will have; None when there is nothing to do any more.

    Counted beforehand, an export that ends its worker each time is put off, too.
    """
    waiting = (
        (DataExport.id == export.id) & (DataExport.state == ExportState.WAITING) & (DataExport.due_at <= func.now())
    )
    begun = {
        "attempts": DataExport.attempts + 1,
        "due_at": func.now() + delay_after(export.attempts),
        "key": func.coalesce(DataExport.key, uuid4().hex),
    }
    async with database.transaction(export.tenant_id) as session:
        key: str | None = await session.scalar(
            update(DataExport).where(waiting).values(begun).returning(DataExport.key)
        )
        return key


async def _collect(database: Database, internal: Internal, export: DataExport) -> dict[str, dict[str, Any]]:
    """Ask every service at once; progress is noted at most every half second, for those who wait for a slow one."""
    asked = [asyncio.create_task(_ask(internal, export, service)) for service in SERVICES]
    try:
        while True:
            done, waiting = await asyncio.wait(asked, timeout=NOTE_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            if not waiting or any(one.exception() for one in done):
                break
            async with database.transaction(export.tenant_id) as session:
                await session.execute(update(DataExport).where(DataExport.id == export.id).values(done=len(done)))
        return dict(zip(SERVICES, [await one for one in asked], strict=True))
    finally:
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _ask(internal: Internal, export: DataExport, service: str) -> dict[str, Any]:
    """Return what a service holds: `tables`, `files` by key, and the keys of files that are `missing` from its store."""
    path, tenant_id = f"exports/{export.account_id}", export.tenant_id
    found = await internal.get(service, path, tenant_id=tenant_id)
    files, missing = {}, []
    for key in found["files"]:
        try:
            files[key] = await internal.get_bytes(service, f"{path}/files", tenant_id=tenant_id, key=key)
        except NotFound:
            missing.append(key)
    if missing:
        log.warning("export.files_missing", export_id=str(export.id), reason=service, count=len(missing))
    return {"tables": found["tables"], "files": files, "missing": missing}


async def _give_up(database: Database, export: DataExport) -> None:
    waiting = (DataExport.id == export.id) & (DataExport.state == ExportState.WAITING)
    async with database.transaction(export.tenant_id) as session:
        await session.execute(update(DataExport).where(waiting).values(state=ExportState.FAILED))
    log.error("export.failed", export_id=str(export.id), attempts=export.attempts + 1)


async def _finish(database: Database, export: DataExport) -> bool:
    """Note that the file is there; False when the person was erased meanwhile and nobody is left to fetch it."""
    async with database.transaction(export.tenant_id) as session:
        row = await session.get(DataExport, export.id, with_for_update=True)
        if row is None:
            return False
        # A worker that was thought dead may have come first, with the same file.
        if row.state is not ExportState.DONE:
            row.state, row.done = ExportState.DONE, row.total
            event = ExportCompleted(tenant_id=row.tenant_id, export_id=row.id, account_id=row.account_id)
            await publish(session, event)
        return True


def build_archive(collected: dict[str, dict[str, Any]], language: str) -> bytes:
    """Return the ZIP: manifest.json (also of what is missing), <service>.json, files/, index.html, SHA256SUMS."""
    contents: dict[str, bytes] = {}
    for service, found in collected.items():
        contents[f"{service}.json"] = orjson.dumps(found["tables"], option=orjson.OPT_INDENT_2)
        contents |= {f"files/{service}/{key}": content for key, content in found["files"].items()}
    contents["index.html"] = _readable(collected, language).encode()
    manifest = {
        "services": list(collected),
        "files": sorted(contents),
        "missing": _missing(collected),
        "language": language,
    }
    contents["manifest.json"] = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items()))
    contents["SHA256SUMS"] = sums.encode()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(name, content)
    return output.getvalue()


def _missing(collected: dict[str, dict[str, Any]]) -> list[str]:
    return sorted(f"files/{service}/{key}" for service, found in collected.items() for key in found["missing"])


def _readable(collected: dict[str, dict[str, Any]], language: str) -> str:
    parts = [f"<h1>{TITLE[language]}</h1>"]
    if missing := _missing(collected):
        parts.append(f"<p>{MISSING[language]}</p><ul>{''.join(f'<li>{html.escape(one)}' for one in missing)}</ul>")
    for service, found in collected.items():
        parts.append(f"<h2>{service}</h2>")
        for table, content in found["tables"].items():
            parts.append(f"<h3>{html.escape(table)}</h3>")
            for row in content["rows"]:
                cells = "".join(
                    f"<tr><th>{html.escape(k)}<td>{html.escape(str(v))}" for k, v in row.items() if v is not None
                )
                parts.append(f"<table>{cells}</table>")
    return page(TITLE[language], "".join(parts), language=language)
