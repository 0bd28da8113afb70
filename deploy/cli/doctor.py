"""`cowork doctor`: look at everything that can be wrong with an installation, and say what to do."""

import sys
from typing import Annotated

import uvloop
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.cli.connections import DEFAULT_FOLDER, Folder
from deploy.doctor.examination import check_names, examine
from deploy.doctor.findings import EXIT_CODES, Level, Report
from deploy.doctor.words import Language, default_language, words
from shared import logging
from shared.events import SERVICES

console = Console(highlight=False)
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


def doctor(
    *checks: str,
    data: Folder = DEFAULT_FOLDER,
    as_json: Annotated[bool, Parameter(name="--json", help="machine-readable (docs/doctor.schema.json)")] = False,
    fix: Annotated[bool, Parameter(help="repair what is safe to repair, then check again")] = False,
    language: Annotated[Language | None, Parameter(help="of the messages; from LANG if left out")] = None,
) -> int:
    """Check the installation, or only the named checks: settings, secrets, databases, broker, keys, mail, files, erasures.

    Exit code: 0 all is well, 3 warnings only, 1 something has failed, 2 no such check. No mail is sent, and without
    --fix nothing is changed.
    """
    logging.configure("cowork", level="ERROR")
    spoken = language or default_language()
    unknown = sorted(set(checks) - set(check_names()))
    if unknown:
        Console(stderr=True).print(words(spoken)["report"]["unknown"].format(names=", ".join(unknown)))
        Console(stderr=True).print(" ".join(check_names()), soft_wrap=True)
        return 2
    report = uvloop.run(examine(data, spoken, names=checks, fixes=fix))
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        _show(report)
    return EXIT_CODES[report.level]


def _show(report: Report) -> None:
    said = words(report.language)
    if report.place:
        console.print(said["report"]["place"].format(place=report.place), markup=False, soft_wrap=True)
    for repair in report.repairs:
        console.print(f"[{'green' if repair.is_done else 'red'}]{'✓' if repair.is_done else '✗'}[/] ", end="")
        console.print(repair.said, markup=False)
    table = Table(*(said["columns"][name] for name in ("check", "level", "about", "found")))
    for one in report.findings:
        level = f"[{STYLES[one.level]}]{said['levels'][one.level]}[/]"
        text = one.found if one.remedy is None else f"{one.found}\n→ {one.remedy}"
        about = said["report"]["all"] if len(one.about) == len(SERVICES) else ", ".join(one.about)
        table.add_row(one.check, level, about, Text(text))
    console.print(table)
    console.print(said["report"][report.level])
