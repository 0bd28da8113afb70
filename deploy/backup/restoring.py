"""Restoring a backup: checked first, closed to everybody while it lasts, the ledger replayed, scanned, then opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from deploy.backup.broker import purge_queues
from deploy.backup.commanded import Commanded, find_commanded, refuse_held, write_down
from deploy.backup.files import files_of, unpack
from deploy.backup.gate import close_gate, is_closed, is_open_to_all, open_gate, who_serves
from deploy.backup.kept import KeptService, kept_services, refuse_above_row_security
from deploy.backup.ledger import Chosen, choose_ledger, ledger_of, load_ledger, note_run
from deploy.backup.making import Say
from deploy.backup.manifest import Manifest, read_manifest
from deploy.backup.past import end_sessions, epoch_of, raise_epoch
from deploy.backup.places import Place, connected
from deploy.backup.replay import leftovers, replay_ledger
from deploy.backup.tools import ToolFailed, check_archive, check_tools, load
from deploy.backup.unheard import send_unheard_again
from deploy.backup.wiping import holds_data, wipe
from shared.bus.crash import crash
from shared.events import SERVICES
from shared.migrate import upgrade

# How long before the backup a consumer may have gone down and still hears what it has missed: a long weekend.
MISSED = timedelta(days=4)


class LiveTarget(RuntimeError):
    """Somebody serves from these databases, or they hold data; the message says what to do."""


class StillThere(RuntimeError):
    """The scan has found somebody of the ledger: nothing is opened."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restore's figures. `subjects` are erasures replayed, `events` sent again, `purged` events of the lost future.

    `commanded` are erasures that were under way where the backup went, and that the ledger names from now on.
    """

    databases: int
    files: int
    subjects: int
    commanded: int
    events: int
    purged: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore would do; making it changes nothing.

    `holding` are the services whose data it replaces, `commanded` the erasures that are under way in it, `queued` the
    events that it takes from the broker's queues. `is_interrupted`: an earlier restore has not come to its end;
    `lifts_holds`: whoever a legal hold keeps is erased as well.
    """

    folder: Path
    manifest: Manifest
    ledger: Chosen
    epochs: Mapping[str, int]
    holding: Sequence[str]
    commanded: Sequence[Commanded]
    is_interrupted: bool
    lifts_holds: bool
    queued: int

    def part(self, *names: str) -> Path | None:
        """Return a part's path; None for that of a service that did not exist yet when the backup was made."""
        return self.folder.joinpath(*names) if "/".join(names) in self.manifest.parts else None


async def plan_restore(
    place: Place, folder: Path, *, ledger: Path | None, replace: bool, lift_holds: bool = False
) -> Plan:
    """Check everything that can be checked before anything is lost.

    Raises NoBackup, Damaged, ToolFailed, NoLedger, AboveRowSecurity, BrokerAway, LiveTarget, ErasuresHeld.
    """
    manifest = read_manifest(folder)
    server = await check_tools(place.owners["identity"])
    if server < manifest.postgres:
        raise ToolFailed(f"the backup was made on PostgreSQL {manifest.postgres}, and this is PostgreSQL {server}")
    for name in SERVICES:
        if (dumped := folder / "databases" / f"{name}.dump").exists():
            await check_archive(dumped)
    await refuse_above_row_security(place)
    await _refuse_open(place)
    is_interrupted = any([await is_closed(place.owners[name]) for name in SERVICES])
    holding = [name for name in SERVICES if await holds_data(place.owners[name])]
    # What an interrupted restore has left behind needs no permission.
    if holding and not replace and not is_interrupted:
        raise LiveTarget(f"these databases hold data: {', '.join(holding)}; --replace puts the backup in its place")
    chosen = await choose_ledger(place, manifest, ledger)
    # What an interrupted restore has left is no longer what was live; it has written them down.
    commanded = [] if is_interrupted else await find_commanded(place)
    if not lift_holds:
        refuse_held(commanded)
    epochs = {name: await epoch_of(place.owners[name]) for name in SERVICES}
    queued = await purge_queues(place, dry_run=True)
    return Plan(folder, manifest, chosen, epochs, holding, commanded, is_interrupted, lift_holds, queued)


async def carry_out(place: Place, plan: Plan, *, kind: str, say: Say) -> Restored:
    """Do what was planned. Whatever interrupts it leaves databases that nobody can serve from, and it can be repeated.

    `kind` is "restore" or "drill", as the ledger's notes call it. Raises LiveTarget, ToolFailed, ChainBroken, StillThere.
    """
    addresses = [place.owners[name] for name in SERVICES]
    say("ledger")
    # A dump that this key does not fit is refused while everything else is still as it was.
    await load_ledger(place, plan.ledger)
    commanded = await _note_commanded(place, plan)
    await close_gate(addresses)
    await _refuse_latecomers(place, plan)
    files = 0
    for name in SERVICES:
        say(f"database of {name}")
        await _restore_database(place.owners[name], plan, name)
        crash("restore.after_database")
        say(f"files of {name}")
        files += await unpack(plan.part("files", f"{name}.tar"), files_of(place.files_url, name))
    purged = await purge_queues(place)
    async with kept_services(place) as services:
        subjects = await _forget_again(place, services, say)
        crash("restore.after_replay")
        say("sending events again")
        events = await send_unheard_again(place, since=plan.manifest.made_at - MISSED)
    await end_sessions(place.owners["identity"])
    await open_gate(addresses)
    size = sum(part.bytes for part in plan.manifest.parts.values())
    await note_run(place, kind, databases=len(SERVICES), files=files, size=size, subjects=subjects)
    return Restored(len(SERVICES), files, subjects, commanded, events, purged)


async def _refuse_open(place: Place) -> None:
    for name in SERVICES:
        if serving := await who_serves(place.owners[name]):
            raise LiveTarget(f"{name} is being served ({serving}): stop the suite first")
        if await is_open_to_all(place.owners[name]):
            raise LiveTarget(
                f"every role may connect to the database of {name}, so that nobody can be kept out while it is restored:"
                " REVOKE CONNECT ON DATABASE … FROM PUBLIC first"
            )


async def _note_commanded(place: Place, plan: Plan) -> int:
    """Look once more: the plan may have waited long for somebody's consent. Return how many the ledger names anew."""
    if plan.is_interrupted:
        return 0
    commanded = await find_commanded(place)
    if not plan.lifts_holds:
        refuse_held(commanded)
    return await write_down(place, commanded)


async def _refuse_latecomers(place: Place, plan: Plan) -> None:
    """Somebody may have connected between the check and the closing of the gate: nothing is lost yet."""
    for name in SERVICES:
        if serving := await who_serves(place.owners[name]):
            if not plan.is_interrupted:
                await open_gate(place.owners[one] for one in SERVICES)
            raise LiveTarget(f"{name} is being served ({serving}): stop the suite first")


async def _restore_database(address: str, plan: Plan, name: str) -> None:
    await wipe(address)
    if (dumped := plan.part("databases", f"{name}.dump")) is not None:
        await load(dumped, address)
    # Migrations since the backup, and the rights, guards and row security that the marks ask for.
    await upgrade(name, address)
    await raise_epoch(address, above=plan.epochs[name])
    async with connected(address) as owner:
        await owner.execute("ANALYZE")


async def _forget_again(place: Place, services: Mapping[str, KeptService], say: Say) -> int:
    """Replay the ledger and look whether anybody of it is left. Raises StillThere."""
    ledger = ledger_of(place)
    try:
        say("replaying the ledger")
        subjects = await replay_ledger(services, ledger, place.files_url)
        say("scanning")
        if left := await leftovers(services, ledger, subjects):
            raise StillThere(f"somebody of the ledger is still named: {'; '.join(left)}. Nothing is opened")
    finally:
        await ledger.close()
    return len(subjects)
