"""The erasure ledger's own backup, which ledger a restore believes, and the notes that `cowork doctor` reads."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.backup.manifest import LedgerManifest, LedgerState, Manifest, part_of, read_ledger_manifest, write_manifest
from deploy.backup.places import LEDGER, Place, connected
from deploy.backup.snapshots import revisions_of
from deploy.backup.tools import dump, load
from deploy.backup.wiping import wipe
from services.privacy.ledger import ChainBroken, Ledger, open_ledger
from services.privacy.ledger.database import upgrade_ledger

DUMP = "ledger.dump"
# A pruned entry's place is taken by a checkpoint.
_STATE = (
    "SELECT (SELECT id FROM origin) AS id, coalesce(max(position), 0) AS position,"
    " (SELECT encode(hash, 'hex') FROM ({places}) AS last ORDER BY position DESC LIMIT 1) AS head,"
    " (SELECT coalesce(max(position), 0) FROM checkpoints WHERE pruned > 0) AS forgotten FROM ({places}) AS every"
).format(places="SELECT position, hash FROM entries UNION SELECT position, hash FROM checkpoints")
_IS_IN_CHAIN = (
    "SELECT EXISTS (SELECT FROM entries WHERE position = $1 AND hash = $2)"
    " OR EXISTS (SELECT FROM checkpoints WHERE position = $1 AND hash = $2)"
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


async def find_state(place: Place) -> LedgerState | None:
    """Return how the live ledger stands; None = its database has no tables yet."""
    async with connected(place.owners[LEDGER]) as owner:
        if await owner.fetchval("SELECT to_regclass('public.origin') IS NULL"):
            return None
        return LedgerState(**await owner.fetchrow(_STATE))


async def dump_ledger(place: Place, folder: Path, *, now: datetime) -> LedgerManifest:
    """Write the ledger into an empty folder of its own, so that it can be kept in another place than the backup.

    Raises NoLedger when its database has no tables.
    """
    state = await require_state(place)
    revisions = await revisions_of(place.owners[LEDGER])
    await dump(place.owners[LEDGER], folder / DUMP)
    parts = {DUMP: part_of(folder / DUMP)}
    manifest = LedgerManifest(made_at=now, revisions=revisions, state=state, parts=parts)
    write_manifest(folder, manifest)
    return manifest


async def require_state(place: Place) -> LedgerState:
    """As `find_state`. Raises NoLedger when the ledger's database has no tables."""
    if (state := await find_state(place)) is None:
        raise NoLedger("the ledger's database has no tables yet: run `cowork ledger migrate`")
    return state


async def choose_ledger(place: Place, backup: Manifest, given: Path | None) -> Chosen:
    """Return the newest ledger that goes on from the backup's: the live one, or the dump that was given. Changes nothing.

    Raises NoLedger when neither does, or when what it has forgotten is younger than the backup, and ChainBroken when the
    live one is not whole or its key is another one.
    """
    live, then = await find_state(place), backup.ledger
    offered = read_ledger_manifest(given).state if given else None
    if live is not None and live.id == then.id:
        if offered and offered.position > live.position:
            raise NoLedger(
                f"the ledger in {given} goes further (position {offered.position}) than the live one ({live.position}):"
                " empty the ledger's database if the given one is right"
            )
        _refuse_unless_it_goes_on("the live ledger", live, then)
        await _verify_live(place, then)
        return Chosen(dump=None)
    if live is not None and live.position:
        raise NoLedger("the live ledger is another one than the backup's: empty its database if the backup is right")
    if given is None or offered is None:
        raise NoLedger(
            "the ledger's database here is new: give the newest ledger there is with --ledger"
            " (the one beside the backup knows nobody who was erased after it)"
        )
    if offered.id != then.id:
        raise NoLedger(f"the ledger in {given} is another one than the backup's")
    _refuse_unless_it_goes_on(f"the ledger in {given}", offered, then)
    return Chosen(dump=given / DUMP)


def _refuse_unless_it_goes_on(which: str, ledger: LedgerState, then: LedgerState) -> None:
    if ledger.position < then.position:
        raise NoLedger(
            f"{which} (position {ledger.position}) is older than the backup's ({then.position}):"
            " who was erased between is not in it"
        )
    if ledger.forgotten > then.position:
        raise NoLedger(
            f"the backup is older than the memory of {which}: who was erased after it, at positions"
            f" {then.position + 1} to {ledger.forgotten}, has been pruned and would come back"
        )


async def _verify_live(place: Place, then: LedgerState) -> None:
    """Whole, and the same chain that the backup has seen. Raises ChainBroken."""
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        await ledger.verify()
    if then.head is None:
        return
    async with connected(place.owners[LEDGER]) as owner:
        if not await owner.fetchval(_IS_IN_CHAIN, then.position, bytes.fromhex(then.head)):
            raise ChainBroken(then.position)


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
