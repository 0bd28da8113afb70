"""`cowork dlq …` and `cowork outbox …`: events that could not be handled, and events that wait to be sent."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import uvloop
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from deploy.cli.connections import DEFAULT_FOLDER, Folder, database_of
from deploy.suite import ServiceName
from shared.bus.contracts import Envelope, Undecodable
from shared.bus.parking import count_parked, discard_parked, find_parked_body, list_parked, retry_parked
from shared.bus.relay import outbox_status, redrive
from shared.events import SERVICES

dlq = App(name="dlq", help="Events that a service could not handle yet: list, show, retry, discard.")
outbox = App(name="outbox", help="Events that wait for the broker's confirm.")
console = Console(highlight=False)
AsJson = Annotated[bool, Parameter(name="--json", help="machine-readable")]


@dlq.command(name="list")
def list_(service: ServiceName | None = None, *, data: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """List parked events of a service, or of all."""
    rows = uvloop.run(_parked(data, [service] if service else list(SERVICES)))
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str) + "\n")
        return 0
    table = Table("service", "event", "type", "state", "attempts", "reason")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("service", "event_id", "type", "state", "attempts", "reason")))
    console.print(table)
    return 0


@dlq.command
def show(service: ServiceName, event_id: UUID, *, data: Folder = DEFAULT_FOLDER) -> int:
    """Print a parked event's envelope; bytes that are no event are only measured."""
    body = uvloop.run(_body(data, service, event_id))
    if body is None:
        console.print("there is no such parked event")
        return 4
    try:
        Envelope.decode(body)
    except Undecodable as error:
        console.print(f"{len(body)} bytes that are no event: {error}")
        return 0
    sys.stdout.write(body.decode() + "\n")
    return 0


@dlq.command
def retry(service: ServiceName, event_id: UUID, *, data: Folder = DEFAULT_FOLDER) -> int:
    """Make a parked event due now."""
    return _said(uvloop.run(_change(data, service, event_id, retry_parked)), "due now")


@dlq.command
def discard(service: ServiceName, event_id: UUID, *, yes: bool = False, data: Folder = DEFAULT_FOLDER) -> int:
    """Give a parked event up for good; the later ones of its key go on."""
    if not yes and input("Discard this event for good? [y/N] ").strip().lower() != "y":
        return 1
    return _said(uvloop.run(_change(data, service, event_id, discard_parked)), "discarded")


@outbox.command
def status(*, data: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """Show per service how many events wait, how old the oldest is, and what is parked; 3 when something is stuck."""
    rows = uvloop.run(_statuses(data))
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        table = Table("service", "waiting", "oldest", "parked")
        for row in rows:
            table.add_row(
                row["service"], str(row["waiting"]), f"{row['oldest_seconds']:.1f} s", str(row["parked"] or "")
            )
        console.print(table)
    return 3 if any(row["oldest_seconds"] > 30 or row["parked"].get("dead") for row in rows) else 0


@outbox.command(name="redrive")
def redrive_(service: ServiceName, *, since: datetime, data: Folder = DEFAULT_FOLDER) -> int:
    """Send again what was sent since an instant (a broker has lost its volume); inboxes drop duplicates."""
    console.print(f"{uvloop.run(_redrive(data, service, since))} events")
    return 0


async def _parked(folder: Path, services: list[str]) -> list[dict[str, Any]]:
    rows = []
    for service in services:
        async with database_of(service, folder) as database, database.transaction() as session:
            for one in await list_parked(session):
                rows.append({"service": service, **{name: getattr(one, name) for name in one.__slots__}})
    return rows


async def _body(folder: Path, service: str, event_id: UUID) -> bytes | None:
    async with database_of(service, folder) as database, database.transaction() as session:
        return await find_parked_body(session, event_id)


async def _change(folder: Path, service: str, event_id: UUID, change: Any) -> bool:
    async with database_of(service, folder) as database, database.transaction() as session:
        return bool(await change(session, event_id))


async def _statuses(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for service in SERVICES:
        async with database_of(service, folder) as database, database.transaction() as session:
            waiting, oldest = await outbox_status(session)
            parked = await count_parked(session)
        rows.append({"service": service, "waiting": waiting, "oldest_seconds": oldest, "parked": parked})
    return rows


async def _redrive(folder: Path, service: str, since: datetime) -> int:
    async with database_of(service, folder) as database:
        return await redrive(database, since=since.astimezone())


def _said(found: bool, done: str) -> int:
    console.print(done if found else "there is no such parked event")
    return 0 if found else 4
