"""`cowork ledger verify|migrate`: the erasure ledger's chain, and its database's schema."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import uvloop
from cyclopts import Parameter
from rich.console import Console

from deploy.backup.ledger import ledger_of
from deploy.backup.places import LEDGER, Place, open_place
from deploy.cli.connections import DEFAULT_FOLDER, Folder
from deploy.cli.serve import migrate_databases
from services.privacy.ledger import ChainBroken

console = Console(stderr=True, highlight=False)


def verify(
    *,
    data: Folder = DEFAULT_FOLDER,
    as_json: Annotated[bool, Parameter(name="--json", help="machine-readable")] = False,
) -> int:
    """Recompute the ledger's chain; 1 when it breaks, with the position where it does."""
    found = uvloop.run(_verify(data))
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    elif found["breaks_at"] is None:
        sys.stdout.write(f"whole: {found['entries']} entries\n")
    else:
        sys.stdout.write(f"the chain breaks at position {found['breaks_at']}\n")
    return 0 if found["breaks_at"] is None else 1


def migrate(*, check: bool = False) -> int:
    """Bring the ledger's database (COWORK_LEDGER_OWNER_URL) to its newest revision; `--check`: only say whether it is."""
    return migrate_databases([LEDGER], check=check)


async def _verify(folder: Path) -> dict[str, Any]:
    async with open_place(folder) as place:
        return await _state(place)


async def _state(place: Place) -> dict[str, Any]:
    ledger = ledger_of(place)
    try:
        return {"entries": await ledger.verify(), "breaks_at": None}
    except ChainBroken as error:
        return {"entries": None, "breaks_at": error.position}
    finally:
        await ledger.close()
