"""`cowork init` and `cowork provision`: secrets of an installation, and what PostgreSQL needs before the first migration."""

from pathlib import Path
from typing import Annotated

import uvloop
from cyclopts import Parameter
from pydantic import Field, SecretStr
from rich.console import Console

from deploy.cli.settings import read
from deploy.embedded.provision import provision
from deploy.installation import write_env, write_installation
from shared.migrate import ROOT
from shared.settings import FileSettings

console = Console(stderr=True, highlight=False)
SECRETS = ROOT / "deploy" / "compose" / "secrets"


class ProvisionSettings(FileSettings):
    """What makes databases and roles (prefix COWORK_)."""

    admin_url: SecretStr = Field(description="postgresql:// address of a superuser")
    databases: dict[str, tuple[str, str]] = Field(description="passwords (owner's, application's) by service")


def init(
    *,
    folder: Annotated[Path, Parameter(help="where the secret files go")] = SECRETS,
    postgres: Annotated[str | None, Parameter(help="host:port of PostgreSQL, if it is not compose's own")] = None,
    rabbitmq: Annotated[str | None, Parameter(help="host:port of RabbitMQ, if it is not compose's own")] = None,
) -> int:
    """Write the secret files that docker compose needs; what exists is kept, and no secret is ever printed."""
    written = write_installation(folder, postgres=postgres, rabbitmq=rabbitmq)
    console.print(f"{len(written)} secret files written to {folder}" if written else f"{folder} is complete")
    if write_env(folder.parent / ".env"):
        console.print("public address and mail server are yours to fill in:", folder.parent / ".env", soft_wrap=True)
    console.print(
        f"Keep a copy of {folder / 'installation.json'} apart from your backups: without its keys a restore"
        " cannot tell who was erased.",
        soft_wrap=True,
    )
    return 0


def provision_databases() -> int:
    """Make the database and the two roles of each service, with the extensions that it needs; repeatable."""
    settings, problems = read(ProvisionSettings)
    if settings is None:
        console.print(f"[red]not configured:[/] {', '.join(problems)}")
        return 2
    uvloop.run(provision(settings.admin_url.get_secret_value(), settings.databases))
    console.print("provisioned")
    return 0
