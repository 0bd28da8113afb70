"""What a backup says about itself: written last, read first, and every part checked against it."""

import hashlib
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from services.privacy.ledger.database import scripts as ledger_scripts
from shared.migrate import scripts_of, unknown_revisions

NAME = "manifest.json"
BLOCK = 1 << 20


class NoBackup(RuntimeError):
    """There is no backup in this folder, or one that has not come to its end."""


class Damaged(RuntimeError):
    """A backup is not what was written, or another version of cowork wrote it; the message names the part."""


class Part(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int


class ServiceState(BaseModel):
    """Where a service's database stood: its revisions, the last position of its event log, events that still waited."""

    model_config = ConfigDict(frozen=True)

    revisions: list[str]
    position: int
    waiting: int
    files: int


class LedgerState(BaseModel):
    """Where a ledger stood: which one it is, its last position (0 = nobody was ever erased), the hash of its last entry
    (hex), and the position up to which its entries were pruned because of their age.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    position: int
    head: str | None
    forgotten: int


class Manifest(BaseModel):
    """`parts` are paths below the backup's folder; `ledger` is how the ledger stood before the snapshots were taken.

    The ledger has its own manifest: it may be kept elsewhere.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    made_at: datetime
    postgres: int
    services: dict[str, ServiceState]
    ledger: LedgerState
    parts: dict[str, Part]


class LedgerManifest(BaseModel):
    """The manifest of a dump of the ledger."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    made_at: datetime
    revisions: list[str]
    state: LedgerState
    parts: dict[str, Part]


Kind = TypeVar("Kind", Manifest, LedgerManifest)


def part_of(path: Path) -> Part:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return Part(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def write_manifest(folder: Path, manifest: Manifest | LedgerManifest) -> None:
    """A folder is a backup from the instant this file is there, whole."""
    half = folder / f"{NAME}.new"
    with half.open("w") as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    half.replace(folder / NAME)


def read_manifest(folder: Path) -> Manifest:
    """Return a backup's manifest once every part is as it was written. Raises NoBackup, Damaged."""
    manifest = _read(folder, Manifest)
    for name, state in manifest.services.items():
        _check_revisions(name, state.revisions)
    return manifest


def read_ledger_manifest(folder: Path) -> LedgerManifest:
    """As `read_manifest`, for a dump of the ledger."""
    manifest = _read(folder, LedgerManifest)
    _check_revisions("ledger", manifest.revisions)
    return manifest


def _read(folder: Path, kind: type[Kind]) -> Kind:
    path = folder / NAME
    if not path.exists():
        raise NoBackup(f"there is no backup in {folder}: {NAME} is missing (it is written last)")
    try:
        manifest = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise Damaged(f"{path} cannot be read: it is damaged, or of a format that this cowork does not know") from error
    for name, part in manifest.parts.items():
        found = folder / name
        if not found.is_file():
            raise Damaged(f"{found} is missing")
        if part_of(found) != part:
            raise Damaged(f"{found} is damaged: it is not what {NAME} says (SHA-256)")
    return manifest


def _check_revisions(name: str, revisions: list[str]) -> None:
    if (unknown := find_unknown(name, revisions)) is not None:
        raise Damaged(
            f"the backup's {name} is at revision {unknown}, which this cowork does not know: restore with the version"
            " that made it, or a newer one"
        )


def find_unknown(name: str, revisions: Iterable[str]) -> str | None:
    """Return the first revision that this code does not know of a service's database, or of the ledger's; None = none."""
    scripts = ledger_scripts() if name == "ledger" else scripts_of(name)
    return min(unknown_revisions(scripts, revisions), default=None)
