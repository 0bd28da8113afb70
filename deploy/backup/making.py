"""Making a backup: snapshots of one moment, dumps from them, the files, the ledger apart, and the manifest last."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.backup.files import files_of, pack
from deploy.backup.ledger import dump_ledger, ledger_of, note_run, require_state
from deploy.backup.manifest import Manifest, Part, ServiceState, find_unknown, part_of, write_manifest
from deploy.backup.places import LEDGER, Place
from deploy.backup.snapshots import Snapshot, revisions_of, snapshots
from deploy.backup.tools import check_tools, dump
from services.privacy.ledger import ChainBroken
from shared.db import utc_now
from shared.events import SERVICES

Say = Callable[[str], None]


class NotEmpty(RuntimeError):
    """The folder for the backup holds something already."""


class NewerDatabase(RuntimeError):
    """A newer cowork has migrated a database: what this one would back up, it could not restore."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup's figures. `ledger_problem` says what is wrong with the ledger's chain, None = nothing."""

    databases: int
    files: int
    files_gone: int
    bytes: int
    ledger_position: int
    ledger_problem: str | None


async def make_backup(place: Place, folder: Path, *, say: Say) -> Made:
    """Back up a place into a new or empty folder; whatever runs there goes on. Raises NotEmpty, ToolFailed,
    NewerDatabase, PauseEnded.
    """
    _refuse_full(folder)
    server = await check_tools(place.owners["identity"])
    for name, address in place.owners.items():
        _refuse_newer(name, await revisions_of(address))
    _prepare(folder)
    made_at = utc_now()
    # Before the snapshots: whoever is erased while they are taken counts as erased after the backup.
    before = await require_state(place)
    say("pausing the relays")
    states: dict[str, ServiceState] = {}
    gone = 0
    async with snapshots(place) as taken:
        for name in SERVICES:
            # Again, for what is dumped: a version may be rolled out at this moment.
            _refuse_newer(name, taken[name].revisions)
            say(f"database of {name}")
            await dump(place.owners[name], folder / _dump_of(name), snapshot=taken[name].id)
    for name in SERVICES:
        say(f"files of {name}")
        packed, missing = await pack(files_of(place.files_url, name), taken[name].file_keys, folder / _files_of(name))
        states[name] = _state(taken[name], packed)
        gone += missing
    say("ledger")
    # Last: a newer ledger is always the better one.
    ledger = await dump_ledger(place, folder / LEDGER, now=utc_now())
    say("checksums")
    parts = {path: part_of(folder / path) for name in SERVICES for path in (_dump_of(name), _files_of(name))}
    manifest = Manifest(made_at=made_at, postgres=server, services=states, ledger=before, parts=parts)
    write_manifest(folder, manifest)
    made = _figures(manifest, [*parts.values(), *ledger.parts.values()], gone, await _problem(place))
    await note_run(place, "backup", databases=made.databases, files=made.files, size=made.bytes)
    return made


def _refuse_full(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise NotEmpty(f"{folder} is not empty: a backup goes into a folder of its own")


def _refuse_newer(name: str, revisions: list[str]) -> None:
    if (unknown := find_unknown(name, revisions)) is not None:
        raise NewerDatabase(
            f"the database of {name} is at revision {unknown}, which this cowork does not know and could not restore:"
            " back up with the version that has migrated it"
        )


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Everything in it is as personal as the databases.
    folder.chmod(0o700)
    for name in ("databases", "files", LEDGER):
        (folder / name).mkdir(mode=0o700)


def _dump_of(service: str) -> str:
    return f"databases/{service}.dump"


def _files_of(service: str) -> str:
    return f"files/{service}.tar"


def _state(snapshot: Snapshot, files: int) -> ServiceState:
    return ServiceState(revisions=snapshot.revisions, position=snapshot.position, waiting=snapshot.waiting, files=files)


async def _problem(place: Place) -> str | None:
    """A broken chain is said, and does not prevent the backup: it would be needed all the more."""
    ledger = ledger_of(place)
    try:
        await ledger.verify()
    except ChainBroken as error:
        return str(error)
    finally:
        await ledger.close()
    return None


def _figures(manifest: Manifest, parts: list[Part], gone: int, problem: str | None) -> Made:
    return Made(
        databases=len(manifest.services) + 1,
        files=sum(state.files for state in manifest.services.values()),
        files_gone=gone,
        bytes=sum(part.bytes for part in parts),
        ledger_position=manifest.ledger.position,
        ledger_problem=problem,
    )
