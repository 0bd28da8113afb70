"""The erasure ledger's own backup, which ledger a restore believes, and the notes that `cowork doctor` reads."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.backup.manifest import LedgerManifest, Manifest, part_of, read_ledger_manifest, write_manifest
from deploy.backup.places import LEDGER, Place, connected
from deploy.backup.tools import dump, load
from deploy.backup.wiping import wipe
from services.privacy.ledger import Ledger, open_ledger
from services.privacy.ledger.database import upgrade_ledger

DUMP = "ledger.dump"
_POSITION = (
    "SELECT greatest((SELECT coalesce(max(position), 0) FROM entries),"
    " (SELECT coalesce(max(position), 0) FROM checkpoints))"
)
_NOTE = (
    "INSERT INTO runs (kind, finished_at, databases, files, bytes, subjects) VALUES ($1, now(), $2, $3, $4, $5)"
    " ON CONFLICT (kind) DO UPDATE SET finished_at = excluded.finished_at, databases = excluded.databases,"
    " files = excluded.files, bytes = excluded.bytes, subjects = excluded.subjects"
)


class NoLedger(RuntimeError):
    """Nothing says who was erased since the backup, or two ledgers say different things."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The ledger to replay: the live one (`dump` is None), or a dump to load into the empty live one first."""

    dump: Path | None


def ledger_of(place: Place) -> Ledger:
    return Ledger(place.ledger_key, place.owners[LEDGER])


async def find_position(place: Place) -> int | None:
    """Return the position of the live ledger's last entry, pruned ones included, 0 when nobody was ever erased.

    None = it is not there: its database is new. One that was ever backed up remembers that, even if it is empty.
    """
    if not await _is_migrated(place):
        return None
    async with connected(place.owners[LEDGER]) as owner:
        position = int(await owner.fetchval(_POSITION))
        is_known = position or await owner.fetchval("SELECT EXISTS (SELECT FROM runs)")
    return position if is_known else None


async def _is_migrated(place: Place) -> bool:
    async with connected(place.owners[LEDGER]) as owner:
        return bool(await owner.fetchval("SELECT to_regclass('public.entries') IS NOT NULL"))


async def dump_ledger(place: Place, folder: Path, *, now: datetime) -> LedgerManifest:
    """Write the ledger into an empty folder of its own, so that it can be kept in another place than the backup.

    Raises NoLedger when its database has no tables.
    """
    position = await find_position(place) or 0
    if not await _is_migrated(place):
        raise NoLedger("the ledger's database has no tables yet: run `cowork ledger migrate`")
    async with connected(place.owners[LEDGER]) as owner:
        revisions = [row["version_num"] for row in await owner.fetch("SELECT version_num FROM alembic_version")]
    await dump(place.owners[LEDGER], folder / DUMP)
    parts = {DUMP: part_of(folder / DUMP)}
    manifest = LedgerManifest(made_at=now, revisions=revisions, position=position, parts=parts)
    write_manifest(folder, manifest)
    return manifest


async def choose_ledger(place: Place, backup: Manifest, given: Path | None) -> Chosen:
    """Return the newest ledger: the live one if it holds anything, else the dump that was given. Changes nothing.

    Raises NoLedger when neither is there, ChainBroken when the live one is not whole or its key is another one.
    """
    live = await find_position(place)
    offered = read_ledger_manifest(given) if given else None
    if live is not None:
        if offered and offered.position > live:
            raise NoLedger(
                f"the ledger in {given} goes further (position {offered.position}) than the live one ({live}):"
                " empty the ledger's database if the given one is right"
            )
        if backup.ledger_position > live:
            raise NoLedger(
                f"the live ledger (position {live}) is older than the backup's ({backup.ledger_position}):"
                " who was erased between is not in it"
            )
        async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
            await ledger.verify()
        return Chosen(dump=None)
    if given is None or offered is None:
        raise NoLedger(
            "the ledger's database here is new: give the newest ledger there is with --ledger"
            " (the one beside the backup knows nobody who was erased after it)"
        )
    if offered.position < backup.ledger_position:
        raise NoLedger(f"the ledger in {given} is older than the backup")
    return Chosen(dump=given / DUMP)


async def load_ledger(place: Place, chosen: Chosen) -> None:
    """Make the chosen ledger the live one. Raises ChainBroken when it is not whole or its key is another one."""
    if chosen.dump is not None:
        await wipe(place.owners[LEDGER])
        await load(chosen.dump, place.owners[LEDGER])
    await upgrade_ledger(place.owners[LEDGER])
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        await ledger.verify()


async def note_run(place: Place, kind: str, *, databases: int, files: int, size: int, subjects: int = 0) -> None:
    """Note that a backup, restore or drill has come to a good end: an instant and counts."""
    async with connected(place.owners[LEDGER]) as owner:
        await owner.execute(_NOTE, kind, databases, files, size, subjects)
