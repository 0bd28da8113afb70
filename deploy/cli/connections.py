"""Which databases a command talks to: those of an embedded installation's folder, or those of the environment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from deploy.embedded.folder import DEFAULT_FOLDER as DEFAULT_FOLDER
from deploy.embedded.folder import NotConfigured, find_installation, why_not_configured
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import Names
from deploy.embedded.secrets import load_or_make
from deploy.suite import settings_class
from shared.db import Database

Folder = Annotated[
    Path, Parameter(env_var="COWORK_DATA", help="data folder; unnamed, it comes after the environment's databases")
]


@asynccontextmanager
async def database_of(service: str, folder: Path) -> AsyncIterator[Database]:
    """Yield a service's database. Raises NotConfigured."""
    database = Database(_url(service, folder), pool_size=1, application_name="cowork-cli")
    try:
        yield database
    finally:
        await database.close()


def _url(service: str, folder: Path) -> str:
    port = EmbeddedPostgres(folder / "postgres").folder / "port"
    if find_installation(folder) is not None and port.exists():
        names = Names.of(service)
        password = load_or_make(folder).databases[service][1]
        return f"postgresql+asyncpg://{names.app}:{password}@127.0.0.1:{port.read_text()}/{names.database}"
    try:
        return settings_class(service)().database_url.get_secret_value()
    except ValidationError as error:
        raise NotConfigured(f"{why_not_configured(folder)}, and {service} is not configured") from error
