"""`cowork config check|print`: what is configured, what is missing; secrets are never shown."""

import functools
import json
import sys
from collections.abc import Sequence

from cyclopts import App
from pydantic import SecretStr
from rich.console import Console

from deploy.cli.settings import read
from deploy.suite import ServiceName, settings_class
from shared.events import SERVICES
from shared.settings import SuiteSettings

app = App(name="config", help="The configuration of services in separate processes (environment, or NAME_FILE).")
console = Console(highlight=False)


@app.command
def check(*services: ServiceName) -> int:
    """Name every setting that is missing or wrong; 1 when there is one."""
    problems = problems_in(services or SERVICES)
    for problem in problems:
        console.print(f"[red]✗[/] {problem}")
    if not problems:
        console.print("[green]✓[/] configured")
    return 1 if problems else 0


def problems_in(services: Sequence[str]) -> list[str]:
    """Return what is missing or wrong in the suite's settings and in those of services, a line per variable."""
    suite, problems = read(SuiteSettings)
    if suite is not None:
        problems += _missing_between(suite, services)
    for name in services:
        unchecked = SuiteSettings.model_construct(files_url="file:///unchecked")
        make = functools.partial(settings_class(name), suite=unchecked)
        settings, found = read(make, prefix=f"COWORK_{name.upper()}_")
        problems += found
        if name == "identity" and settings is not None and not settings.model_dump()["client_digests"]:
            problems.append("COWORK_IDENTITY_CLIENT_DIGESTS: no service could identify itself")
    return problems


def _missing_between(suite: SuiteSettings, services: Sequence[str]) -> list[str]:
    """What an embedded suite does without, and separate processes cannot: a broker, and addresses of each other."""
    missing = [] if suite.amqp_url else ["COWORK_AMQP_URL: separate processes need RabbitMQ"]
    needed = SERVICES if "privacy" in services else ("identity",)
    unknown = [name for name in needed if name not in suite.internal_urls]
    return missing + ([f"COWORK_INTERNAL_URLS: no address for {', '.join(unknown)}"] if unknown else [])


@app.command(name="print")
def print_(service: ServiceName) -> int:
    """Print a service's settings with every secret replaced."""
    settings, problems = read(settings_class(service), prefix=f"COWORK_{service.upper()}_")
    if settings is None:
        for problem in problems_in([service]) or problems:
            console.print(f"[red]✗[/] {problem}")
        return 2
    shown = {
        name: "•••" if isinstance(value, SecretStr) else value
        for name, value in settings
        if name not in ("suite", "client_digests")
    }
    sys.stdout.write(json.dumps(shown, default=str, indent=2) + "\n")
    return 0
