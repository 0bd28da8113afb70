"""`cowork erasure list|status`: what the cases are waiting for."""

import asyncio
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import uvloop
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.table import Table
from sqlalchemy import select

from deploy.cli.connections import DEFAULT_FOLDER, Folder, database_of
from services.privacy.models import Answer, Case
from shared.db import Database
from shared.privacy.retention import tenant_ids

console = Console(highlight=False)
POLL_SECONDS = 0.2
AsJson = Annotated[bool, Parameter(name="--json", help="machine-readable")]


def list_cases(*, data: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """List the cases, the most recent first."""
    cases = uvloop.run(_all(data))
    if as_json:
        sys.stdout.write(json.dumps(cases, default=str) + "\n")
        return 0
    table = Table("case", "kind", "state", "commanded", "due", "answers")
    for case in cases:
        answered = sum(answer["outcome"] is not None for answer in case["answers"])
        kind = "tenant" if case["is_tenant"] else "account"
        answers = f"{answered}/{len(case['answers'])}"
        table.add_row(
            str(case["id"]), kind, case["state"], f"{case['commanded_at']:%Y-%m-%d %H:%M}", str(case["due_on"]), answers
        )
    console.print(table)
    return 0


def status(case: UUID, *, watch: bool = False, data: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> int:
    """Show a case with one line per service (`--watch`: until it is completed)."""
    return uvloop.run(_status(case, data, watch=watch, as_json=as_json))


async def _all(folder: Path) -> list[dict[str, Any]]:
    async with database_of("privacy", folder) as database:
        found = [case for tenant in await tenant_ids(database) for case in await _cases(database, tenant, None)]
    return sorted(found, key=lambda case: case["commanded_at"], reverse=True)


async def _status(case_id: UUID, folder: Path, *, watch: bool, as_json: bool) -> int:
    async with database_of("privacy", folder) as database:
        case = await _find(database, case_id)
        if case is None and not watch:
            console.print("there is no such case")
            return 4
        # Whoever wants JSON watches silently and gets the end of it.
        shown = nullcontext() if as_json else Live(_table(case, case_id), console=console, refresh_per_second=10)
        with shown as live:
            while watch and (case is None or case["completed_at"] is None):
                await asyncio.sleep(POLL_SECONDS)
                case = await _find(database, case_id)
                if live is not None:
                    live.update(_table(case, case_id))
    if as_json:
        sys.stdout.write(json.dumps(case, default=str) + "\n")
    return 0


async def _find(database: Database, case_id: UUID) -> dict[str, Any] | None:
    for tenant_id in await tenant_ids(database):
        found = await _cases(database, tenant_id, case_id)
        if found:
            return found[0]
    return None


async def _cases(database: Database, tenant_id: UUID, case_id: UUID | None) -> list[dict[str, Any]]:
    statement = select(Case)
    if case_id is not None:
        statement = statement.where(Case.id == case_id)
    async with database.transaction(tenant_id) as session:
        cases = (await session.execute(statement)).scalars().all()
        answers = (await session.execute(select(Answer).order_by(Answer.service))).scalars().all()
    return [
        {
            **{
                name: getattr(case, name)
                for name in ("id", "is_tenant", "state", "commanded_at", "due_on", "completed_at")
            },
            "answers": [_answer(answer) for answer in answers if answer.case_id == case.id],
        }
        for case in cases
    ]


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "service": answer.service,
        "outcome": answer.outcome,
        "rows": sum(entry["count"] for entry in answer.counts),
        "retained": answer.retained,
        "remaining": answer.remaining,
    }


def _table(case: dict[str, Any] | None, case_id: UUID) -> Table:
    table = Table("service", "answer", "rows", "retained", "verified", title=f"case {case_id}")
    if case is None:
        table.caption = "waiting for the case to open"
        return table
    for answer in case["answers"]:
        retained = "; ".join(
            f"{r['count']} {r['rule']} ({r['ground']}, {r['until'] or 'until settled'})" for r in answer["retained"]
        )
        verified = {None: "", 0: "clean"}.get(answer["remaining"], str(answer["remaining"]))
        table.add_row(answer["service"], answer["outcome"] or "…", str(answer["rows"]), retained, verified)
    table.caption = f"{case['state']}, due {case['due_on']}"
    return table
