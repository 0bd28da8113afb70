"""`cowork archive export`: what the law keeps of a tenant, handed to somebody who keeps it."""

from pathlib import Path
from typing import Annotated

import uvloop
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.archive import FolderRefused, Handed, find_tenant, hand_over
from deploy.cli.connections import DEFAULT_FOLDER, Folder, database_of
from shared import logging
from shared.db import utc_now

console = Console(stderr=True, highlight=False)


def export(
    tenant: Annotated[str, Parameter(help="id or slug; a deactivated one, too")],
    *,
    to: Annotated[Path, Parameter(help="an empty folder, or one where this archive was begun")],
    keeper: Annotated[str, Parameter(help="who keeps the archive; written into its manifest")],
    data: Folder = DEFAULT_FOLDER,
) -> int:
    """Write every invoice, credit note and quote of a tenant, with their proof, into a folder; go on with one that was begun.

    Exit code: 0 handed over, 1 the folder is not empty or the hash chain does not verify, 2 usage, 4 no such tenant.
    """
    logging.configure("billing")
    if not keeper.strip():
        console.print("--keeper is empty: name who will keep the archive")
        return 2
    try:
        handed = uvloop.run(_export(data, tenant, to, keeper.strip()))
    except FolderRefused as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    if handed is None:
        console.print("there is no such tenant")
        return 4
    console.print(f"{handed.documents} documents and {handed.quotes} quotes in {to}", markup=False, soft_wrap=True)
    if handed.chain.broken_at is not None:
        console.print(f"[red]the hash chain does not verify[/] at {handed.chain.broken_at}")
        return 1
    console.print(f"the hash chain of {handed.chain.checked} documents is whole")
    return 0


async def _export(data: Path, named: str, folder: Path, keeper: str) -> Handed | None:
    async with database_of("billing", data) as database:
        tenant = await find_tenant(database, named)
        if tenant is None:
            return None
        with Progress(TextColumn("printing"), BarColumn(), MofNCompleteColumn(), console=console) as progress:
            task = progress.add_task("", total=None)

            def say(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            return await hand_over(database, tenant, folder, keeper=keeper, now=utc_now(), say=say)
