"""The installation that is backed up or restored: an embedded one in its folder, or one configured by the environment."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict
from sqlalchemy.engine import make_url

from deploy.embedded.folder import NotConfigured, find_installation, make_private, servers_of, why_not_configured
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import Names, provision
from deploy.embedded.secrets import load_or_make
from shared.events import SERVICES
from shared.settings import FileSettings, OwnerSettings, SuiteSettings

LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class Place:
    """An installation. `owners` are the owner roles' SQLAlchemy addresses, by service and for "ledger".

    `folder` is the data folder of an embedded installation.
    """

    owners: Mapping[str, str] = field(repr=False)
    ledger_key: str = field(repr=False)
    files_url: str
    amqp_url: str | None = field(default=None, repr=False)
    namespace: str = "cowork"
    folder: Path | None = None

    @property
    def where(self) -> str:
        """The data folder, or the servers of the databases: what an operator compares with what they meant."""
        return str(self.folder.resolve()) if self.folder is not None else servers_of(self.owners.values())


@asynccontextmanager
async def open_place(folder: Path) -> AsyncIterator[Place]:
    """Yield the installation of a data folder, or that of the environment (`find_installation` says which is meant).

    A PostgreSQL that does not run is started for as long as the body lasts; one that runs is left alone.
    Raises NotConfigured, PostgresError.
    """
    if find_installation(folder) is None:
        yield _configured(folder)
        return
    secrets, postgres = load_or_make(folder), EmbeddedPostgres(folder / "postgres")
    try:
        # Where nobody holds the folder, a server that runs is one that was left behind. It is used as it is; only a suite
        # that starts would end it, and that has to wait for us.
        postgres.lock.try_take()
        if not await postgres.find():
            await postgres.start()
        await provision(postgres.admin_url, secrets.databases)
        amqp_url = _Broker().amqp_url
        yield Place(
            owners={
                name: Names.of(name).address(passwords, postgres.port, owner=True)
                for name, passwords in secrets.databases.items()
            },
            ledger_key=secrets.ledger_key,
            files_url=make_private(folder / "files").resolve().as_uri(),
            amqp_url=amqp_url.get_secret_value() if amqp_url else None,
            namespace=_Broker().namespace,
            folder=folder,
        )
    finally:
        await postgres.stop()


class _Broker(FileSettings):
    """What an embedded installation takes from the environment, too."""

    amqp_url: SecretStr | None = None
    namespace: str = "cowork"


class _LedgerKey(FileSettings):
    """The key alone: a backup job needs no other setting of the privacy service."""

    model_config = SettingsConfigDict(env_prefix="COWORK_PRIVACY_", extra="ignore", hide_input_in_errors=True)

    ledger_key: SecretStr = Field(min_length=32)


def _configured(folder: Path) -> Place:
    missing: list[str] = []

    def read(prefix: str, make: Any) -> Any:
        try:
            return make()
        except ValidationError as error:
            missing.extend(f"{prefix}{str(one['loc'][0]).upper()}" for one in error.errors())

    found = {name: read(f"COWORK_{name.upper()}_", lambda n=name: OwnerSettings.of(n)) for name in (*SERVICES, LEDGER)}
    suite, key = read("COWORK_", SuiteSettings), read("COWORK_PRIVACY_", _LedgerKey)
    if missing:
        raise NotConfigured(f"{why_not_configured(folder)}, and these are not set: {', '.join(missing)}")
    return Place(
        owners={name: owner.owner_url.get_secret_value() for name, owner in found.items()},
        ledger_key=key.ledger_key.get_secret_value(),
        files_url=suite.files_url,
        amqp_url=suite.amqp_url.get_secret_value() if suite.amqp_url else None,
        namespace=suite.namespace,
    )


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Any]:
    """Yield a driver's connection (asyncpg) to a SQLAlchemy address, in autocommit."""
    url = make_url(address)
    query = {("sslmode" if name == "ssl" else name): value for name, value in url.query.items()}
    dsn = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "cowork-backup"})
    try:
        yield connection
    finally:
        await connection.close()
