"""The erasure ledger's own backup, which ledger a restore believes, and the notes that `cowork doctor` reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.backup.manifest import LedgerManifest, LedgerState, Manifest, part_of, read_ledger_manifest, write_manifest
from deploy.backup.places import LEDGER, Place, connected
from deploy.backup.snapshots import revisions_of
from deploy.backup.tools import ToolFailed, dump, load
from deploy.backup.wiping import bring_back, forget_aside, set_aside
from services.privacy.ledger import ChainBroken, Entry, Ledger, open_ledger
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
_ASIDE = "SELECT subject_hmac, outcome, content, erased_at, manifests_digest FROM aside.entries ORDER BY position"
# Entries written in one transaction.
BATCH = 1000
_NOTE = (
    "INSERT INTO runs (kind, finished_at, databases, files, bytes, subjects) VALUES ($1, now(), $2, $3, $4, $5)"
    " ON CONFLICT (kind) DO UPDATE SET finished_at = excluded.finished_at, databases = excluded.databases,"
    " files = excluded.files, bytes = excluded.bytes, subjects = excluded.subjects"
)


class NoLedger(RuntimeError):
    """Nothing says who was erased since the backup, or two ledgers say different things."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The ledger to replay: the live one (`dump` is None), or a dump that takes its place first.

    `then` is how the ledger stood when the backup was made.
    """

    dump: Path | None
    then: LedgerState


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

    A dump takes the place of a live one that is lost, or whose chain is broken. Raises NoLedger when neither will do, or
    when what it has forgotten is younger than the backup.
    """
    live, then = await find_state(place), backup.ledger
    offered = read_ledger_manifest(given).state if given else None
    if live is not None and live.id == then.id:
        broken = await _find_break(place, live, then)
        if broken is None:
            _refuse_unless_it_is_the_newest(live, then, given, offered)
            return Chosen(None, then)
        if given is None:
            raise NoLedger(
                f"{broken}, or the key is not that of the backup: if COWORK_PRIVACY_LEDGER_KEY is right, give the newest"
                " whole dump with --ledger. It takes the live ledger's place, and whoever only that one names is kept"
            ) from broken
    elif live is not None and live.position:
        raise NoLedger("the live ledger is another one than the backup's: empty its database if the backup is right")
    if given is None or offered is None:
        raise NoLedger(
            "the ledger's database here is new: give the newest ledger there is with --ledger"
            " (the one beside the backup knows nobody who was erased after it)"
        )
    if offered.id != then.id:
        raise NoLedger(f"the ledger in {given} is another one than the backup's")
    _refuse_unless_it_goes_on(f"the ledger in {given}", offered, then)
    return Chosen(given / DUMP, then)


def _refuse_unless_it_is_the_newest(
    live: LedgerState, then: LedgerState, given: Path | None, offered: LedgerState | None
) -> None:
    if offered and offered.position > live.position:
        raise NoLedger(
            f"the ledger in {given} goes further (position {offered.position}) than the live one ({live.position}):"
            " empty the ledger's database if the given one is right"
        )
    _refuse_unless_it_goes_on("the live ledger", live, then)


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


async def _find_break(place: Place, live: LedgerState, then: LedgerState) -> ChainBroken | None:
    try:
        await _verify(place, then if live.forgotten <= then.position <= live.position else None)
    except ChainBroken as error:
        return error
    return None


async def _verify(place: Place, then: LedgerState | None) -> None:
    """Whole, and the same chain that the backup has seen. Raises ChainBroken."""
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        await ledger.verify()
    if then is None or then.head is None:
        return
    async with connected(place.owners[LEDGER]) as owner:
        if not await owner.fetchval(_IS_IN_CHAIN, then.position, bytes.fromhex(then.head)):
            raise ChainBroken(then.position)


async def load_ledger(place: Place, chosen: Chosen) -> None:
    """Make the chosen ledger the live one. Raises ChainBroken when it is not whole or its key is another one.

    The one whose place a dump takes is gone only when the dump has proven to be whole, and names nobody else.
    """
    address = place.owners[LEDGER]
    if chosen.dump is not None:
        await set_aside(address)
        try:
            await load(chosen.dump, address)
            await _verify(place, chosen.then)
        except (ChainBroken, ToolFailed):
            await bring_back(address)
            raise
    await upgrade_ledger(address)
    await _keep_whom_only_the_old_one_names(place)
    await forget_aside(address)
    await _verify(place, chosen.then)


async def _keep_whom_only_the_old_one_names(place: Place) -> None:
    """Nobody without the key makes a keyed hash that is somebody's: what a broken chain names is true of its people."""
    async with connected(place.owners[LEDGER]) as owner:
        if await owner.fetchval("SELECT to_regclass('aside.entries') IS NULL"):
            return
        old = [Entry(**row) for row in await owner.fetch(_ASIDE)]
    await append_all(place, old)


async def append_all(place: Place, new: Sequence[Entry]) -> int:
    """Write entries into the live ledger, in order; return how many subjects it did not name yet."""
    written = 0
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        for first in range(0, len(new), BATCH):
            written += await ledger.append(*new[first : first + BATCH])
    return written


async def note_run(place: Place, kind: str, *, databases: int, files: int, size: int, subjects: int = 0) -> None:
    """Note that a backup, restore or drill has come to a good end: an instant and counts."""
    async with connected(place.owners[LEDGER]) as owner:
        await owner.execute(_NOTE, kind, databases, files, size, subjects)
