"""Files: each service can write, read and delete; the disks below have room."""

import os
import shutil
from pathlib import Path
from urllib.parse import urlparse
from uuid import uuid4

from obstore.exceptions import BaseError

from deploy.doctor.checks import of_service, of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import Site
from deploy.embedded.postgres import EmbeddedPostgres
from shared.files import Files
from shared.problems import NotFound

PROBE = "doctor"
# Of a disk, in shares and in bytes: PostgreSQL stops when it cannot write.
LOW_SHARE, LOW_BYTES = 0.10, 2 * 1024**3
FULL_SHARE, FULL_BYTES = 0.02, 256 * 1024**2


@of_service("storage")
async def check_storage(site: Site, service: str) -> list[Finding]:
    """Write a probe object under a random key, read it, delete it."""
    folder = _folder(site.get_suite().files_url)
    settings = site.get_service(service)
    # Looking must not make the folder: where a service has never run, or its volume is not mounted, there is none.
    if folder is not None and not (folder / service).is_dir():
        return [failed("no_folder", path=str(folder / service))] if not site.is_embedded else [ok("unused")]
    key, content = f"{PROBE}-{uuid4()}", os.urandom(64)
    step = "write"
    try:
        files = Files(site.get_suite().files_url, service, signing_key=settings.digest_key.get_secret_value())
        await files.put(key, content)
        step = "read"
        same = await files.get(key) == content
        step = "delete"
        await files.delete(key)
    except (BaseError, OSError, NotFound):
        return [failed("no_" + step, place=_place(site, service))]
    return [ok()] if same else [failed("no_read", place=_place(site, service))]


@of_suite("disk")
async def check_disk(site: Site) -> list[Finding]:
    """The disks of the data folder, of PostgreSQL's and of the files have room; what is elsewhere is not ours to see."""
    found = [finding for path in _disks(site) for finding in _room(path)]
    return found or [ok()]


def _disks(site: Site) -> list[Path]:
    folders = [_folder(site.suite.files_url) if site.suite else None]
    if site.folder is not None:
        folders += [site.folder, EmbeddedPostgres(site.folder / "postgres").folder]
    present = [folder for folder in folders if folder is not None and folder.exists()]
    return list({folder.stat().st_dev: folder for folder in present}.values())


def _room(path: Path) -> list[Finding]:
    usage = shutil.disk_usage(path)
    share = usage.free / usage.total
    if share < FULL_SHARE or usage.free < FULL_BYTES:
        judge, code = failed, "full"
    elif usage.free < LOW_BYTES or (share < LOW_SHARE and usage.free < 10 * LOW_BYTES):
        judge, code = warning, "low"
    else:
        return []
    return [judge(code, path=str(path), percent=round(100 * share), megabytes=usage.free // 1024**2)]


def _folder(files_url: str) -> Path | None:
    """Return the folder behind `file:///…`, None for an object store."""
    parsed = urlparse(files_url)
    return Path(parsed.path) if parsed.scheme == "file" else None


def _place(site: Site, service: str) -> str:
    parsed = urlparse(site.get_suite().files_url)
    return f"{parsed.scheme}://{parsed.hostname or ''}{parsed.path.rstrip('/')}/{service}"
