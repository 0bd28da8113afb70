"""`cowork config check|print`: what is configured, what is missing; secrets are never shown."""

import json
import sys
from collections.abc import Sequence

from cyclopts import App
from pydantic import SecretStr, ValidationError
from rich.console import Console

from deploy.cli.settings import problems_of
from deploy.suite import settings_class
from shared.events import SERVICES
from shared.settings import SuiteSettings

app = App(name="config", help="The configuration of services in separate processes (environment, or NAME_FILE).")
console = Console(highlight=False)


@app.command
def check(*services: str) -> int:
    """Name every setting that is missing or wrong; 1 when there is one."""
    problems = problems_in(services or SERVICES)
    for problem in problems:
        console.print(f"[red]✗[/] {problem}")
    if not problems:
        console.print("[green]✓[/] configured")
    return 1 if problems else 0


def problems_in(services: Sequence[str]) -> list[str]:
    """Return what is missing or wrong in the suite's settings and in those of services, a line per variable."""
    problems: list[str] = []
    try:
        SuiteSettings()
    except ValidationError as error:
        problems += problems_of(error)
    for name in services:
        try:
            settings_class(name)(suite=SuiteSettings(files_url="file:///unchecked"))
        except ValidationError as error:
            problems += problems_of(error, prefix=f"COWORK_{name.upper()}_")
    return problems


@app.command(name="print")
def print_(service: str) -> int:
    """Print a service's settings with every secret replaced."""
    settings = settings_class(service)()
    shown = {
        name: "•••" if isinstance(value, SecretStr) else value
        for name, value in settings
        if name not in ("suite", "client_digests")
    }
    sys.stdout.write(json.dumps(shown, default=str, indent=2) + "\n")
    return 0
