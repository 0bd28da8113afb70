"""`cowork backup|restore|drill`: everything that an installation holds into a folder, and back without those who are erased."""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import uvloop
from cyclopts import Parameter
from rich.console import Console

from deploy.backup.broker import BrokerAway
from deploy.backup.commanded import ErasuresHeld
from deploy.backup.drill import scratch_place
from deploy.backup.kept import AboveRowSecurity
from deploy.backup.ledger import NoLedger
from deploy.backup.making import NewerDatabase, NotEmpty, make_backup
from deploy.backup.manifest import Damaged, NoBackup
from deploy.backup.places import LEDGER, Place, open_place
from deploy.backup.restoring import LiveTarget, Plan, StillThere, carry_out, plan_restore
from deploy.backup.snapshots import PauseEnded
from deploy.backup.tools import ToolFailed
from deploy.cli.connections import DEFAULT_FOLDER, Folder
from deploy.embedded.account import PostgresError
from services.privacy.ledger import ChainBroken
from shared import logging

console = Console(stderr=True, highlight=False)
AsJson = Annotated[bool, Parameter(name="--json", help="machine-readable summary")]
LedgerFolder = Annotated[Path | None, Parameter(help="the newest ledger dump, where the live one is lost or broken")]
REFUSALS = (
    AboveRowSecurity, BrokerAway, ChainBroken, Damaged, ErasuresHeld, LiveTarget, NewerDatabase, NoLedger, NotEmpty,
    PauseEnded, PostgresError, StillThere, ToolFailed,
)  # fmt: skip


def backup(folder: Path, *, data: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """Back up all databases and files into a new folder, while the suite runs or not; 3 when the ledger is not whole.

    The ledger goes to FOLDER/ledger: keep it, and the secrets, in another place than the rest.
    """
    return _finish(_backup, folder, data, as_json=as_json)


def restore(
    folder: Path,
    *,
    ledger: LedgerFolder = None,
    replace: Annotated[bool, Parameter(help="put the backup in the place of the data that is there")] = False,
    lift_holds: Annotated[bool, Parameter(help="erase also whom a legal hold keeps from being erased")] = False,
    dry_run: Annotated[bool, Parameter(help="check everything and say what would be done")] = False,
    yes: bool = False,
    data: Folder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> int:
    """Restore a backup into a suite that is stopped, and erase again who was erased, or was to be, since it was made.

    Nobody can connect before the last check has passed; an interrupted restore is simply run again. On a new machine,
    put the installation's secrets.json into the data folder first.
    """

    async def work(place: Place) -> tuple[dict[str, Any], int]:
        plan = await plan_restore(place, folder, ledger=ledger, replace=replace, lift_holds=lift_holds)
        if dry_run:
            return _planned(plan), 0
        if plan.holding and not yes and not _agreed(place, plan):
            return {"restored": False}, 1
        with console.status("") as status:
            done = await carry_out(place, plan, kind="restore", say=status.update)
        if place.folder is not None:
            # The demo space is not made again beside what was restored.
            (place.folder / "seeded").touch()
        if place.amqp_url is None:
            console.print("no COWORK_AMQP_URL: if a broker carries the events, empty its queues before anybody starts")
        return asdict(done), 0

    return _finish(lambda place, _: work(place), folder, data, as_json=as_json)


def drill(folder: Path, *, data: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """Try a backup: restore it on a PostgreSQL of its own, replay the live ledger, scan, and throw everything away."""
    return _finish(_drill, folder, data, as_json=as_json)


async def _backup(place: Place, folder: Path) -> tuple[dict[str, Any], int]:
    with console.status("") as status:
        made = await make_backup(place, folder, say=status.update)
    if made.ledger_problem:
        console.print(f"[red]the backup is made, but[/] {made.ledger_problem}")
    console.print(f"keep {folder / LEDGER} and the secrets apart from the rest: a restore needs the newest of both")
    return asdict(made), 3 if made.ledger_problem else 0


async def _drill(place: Place, folder: Path) -> tuple[dict[str, Any], int]:
    with console.status("starting a PostgreSQL") as status:
        async with scratch_place(place) as scratch:
            plan = await plan_restore(scratch, folder, ledger=None, replace=False)
            return asdict(await carry_out(scratch, plan, kind="drill", say=status.update)), 0


def _planned(plan: Plan) -> dict[str, Any]:
    return {
        "made_at": plan.manifest.made_at.isoformat(),
        "databases": len(plan.manifest.services),
        "files": sum(state.files for state in plan.manifest.services.values()),
        "replaces": list(plan.holding),
        "commanded": len(plan.commanded),
        "ledger": "the live one" if plan.ledger.dump is None else str(plan.ledger.dump),
        "queued": plan.queued,
    }


def _agreed(place: Place, plan: Plan) -> bool:
    if not sys.stdin.isatty():
        console.print(f"this replaces what is in {place.where}: say --yes", soft_wrap=True)
        return False
    what = f"the data of {', '.join(plan.holding)} in {place.where}"
    console.print(f"This replaces {what} by what it was at {plan.manifest.made_at}.", soft_wrap=True)
    if plan.commanded:
        console.print(f"{len(plan.commanded)} erasures that are under way will be carried out in what is restored.")
    return input("Go on? [y/N] ").strip().lower() == "y"


Work = Callable[[Place, Path], Awaitable[tuple[dict[str, Any], int]]]


def _finish(work: Work, folder: Path, data: Path, *, as_json: bool) -> int:
    """Run a command in its place and print its summary; return the exit code."""
    logging.configure("cowork", level="WARNING")

    async def run() -> tuple[dict[str, Any], int]:
        async with open_place(data) as place:
            # Before anything else, a refusal as well: it may be another installation than the one that is meant.
            console.print(f"installation: {place.where}", soft_wrap=True, markup=False)
            summary, code = await work(place, folder)
            return {"place": place.where, **summary}, code

    try:
        summary, code = uvloop.run(run())
    except NoBackup as error:
        console.print(str(error))
        return 4
    except REFUSALS as error:
        console.print(f"[red]{type(error).__name__}:[/] {error}")
        return 1
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        sys.stdout.writelines(f"{name:16} {value}\n" for name, value in summary.items() if value is not None)
    return code
