"""Collecting a person's copy: every service's JSON and files in one ZIP, with a page to read and checksums."""

import asyncio
import hashlib
import html
import io
import zipfile
from typing import Any
from uuid import UUID, uuid4

import orjson
import structlog
from sqlalchemy import select, update

from services.privacy.models import DataExport, ExportState
from services.privacy.pages import page
from shared.bus import publish
from shared.db import Database
from shared.events import SERVICES
from shared.events.privacy import ExportCompleted
from shared.files import Files
from shared.internal import Internal
from shared.problems import BadGateway

log = structlog.get_logger()
MAX_ATTEMPTS = 60
NOTE_SECONDS = 0.5
TITLE = {"fr": "Vos données", "en": "Your data"}


async def collect_waiting(database: Database, internal: Internal, files: Files, tenant_id: UUID) -> None:
    """Collect a tenant's waiting exports; one that waits for a service that is down is tried again later."""
    async with database.transaction(tenant_id) as session:
        waiting = select(DataExport).where(DataExport.state == ExportState.WAITING).order_by(DataExport.created_at)
        exports = list((await session.execute(waiting)).scalars())
    for export in exports:
        try:
            collected = await _collect(database, internal, export)
        except BadGateway as error:
            log.info("export.waits", export_id=str(export.id), exc_info=error)
            await _put_off(database, export)
            continue
        archive = await asyncio.to_thread(build_archive, collected, export.language)
        key = uuid4().hex
        await files.put(key, archive)
        if not await _finish(database, export, key):
            await files.delete(key)


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
    path, tenant_id = f"exports/{export.account_id}", export.tenant_id
    found = await internal.get(service, path, tenant_id=tenant_id)
    keys = found["files"]
    contents = [await internal.get_bytes(service, f"{path}/files", tenant_id=tenant_id, key=key) for key in keys]
    return {"tables": found["tables"], "files": dict(zip(keys, contents, strict=True))}


async def _put_off(database: Database, export: DataExport) -> None:
    async with database.transaction(export.tenant_id) as session:
        state = ExportState.FAILED if export.attempts + 1 >= MAX_ATTEMPTS else ExportState.WAITING
        changed = update(DataExport).where(DataExport.id == export.id)
        await session.execute(changed.values(attempts=DataExport.attempts + 1, state=state))


async def _finish(database: Database, export: DataExport, key: str) -> bool:
    """Note the file; False when the person was erased meanwhile and nobody is left to fetch it."""
    async with database.transaction(export.tenant_id) as session:
        changed = update(DataExport).where(DataExport.id == export.id, DataExport.state == ExportState.WAITING)
        done = await session.execute(
            changed.values(state=ExportState.DONE, done=DataExport.total, key=key).returning(DataExport.id)
        )
        if done.scalar() is None:
            return False
        event = ExportCompleted(tenant_id=export.tenant_id, export_id=export.id, account_id=export.account_id)
        await publish(session, event)
        return True


def build_archive(collected: dict[str, dict[str, Any]], language: str) -> bytes:
    """Return the ZIP: manifest.json, <service>.json, files/, index.html, SHA256SUMS."""
    contents: dict[str, bytes] = {}
    for service, found in collected.items():
        contents[f"{service}.json"] = orjson.dumps(found["tables"], option=orjson.OPT_INDENT_2)
        contents |= {f"files/{service}/{key}": content for key, content in found["files"].items()}
    contents["index.html"] = _readable(collected, language).encode()
    manifest = {"services": list(collected), "files": sorted(contents), "language": language}
    contents["manifest.json"] = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items()))
    contents["SHA256SUMS"] = sums.encode()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(name, content)
    return output.getvalue()


def _readable(collected: dict[str, dict[str, Any]], language: str) -> str:
    parts = [f"<h1>{TITLE[language]}</h1>"]
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
