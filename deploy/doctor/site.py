"""The installation that is examined: an embedded one's data folder, or separate processes configured by the environment."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast
from uuid import UUID

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.doctor.findings import Finding, failed
from deploy.embedded.account import PostgresError
from deploy.embedded.folder import find_installation, servers_of
from deploy.embedded.secrets import DATABASES
from deploy.embedded.suite import EmbeddedSuite
from deploy.suite import settings_class
from services.privacy.settings import Settings as PrivacySettings
from shared.db import LOST, Database
from shared.events import SERVICES
from shared.settings import FileSettings, OwnerSettings, ServiceSettings, SuiteSettings

T = TypeVar("T")
LEDGER = "ledger"
CONNECT_SECONDS = 5.0
# What PostgreSQL says to whom it does not let in, by SQLSTATE.
_REFUSALS = {"28P01": "refused", "28000": "refused", "42501": "refused", "3D000": "missing", "53300": "full"}


class NotChecked(Exception):
    """A check could not look; `because` names the reason in the words' table of that name."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


class DoctorSettings(FileSettings):
    """What only the doctor needs (prefix COWORK_)."""

    rabbitmq_management_url: SecretStr | None = Field(
        None,
        description="http://user:password@host:15672 of RabbitMQ's management API; bindings are compared through it",
    )


@dataclass
class Site:
    """What is configured, and one connection to each database; close it in the end.

    `services` and `owners` (with "ledger") hold what is whole: what is not configured is in `faults` instead.
    """

    folder: Path | None
    suite: SuiteSettings | None
    services: dict[str, ServiceSettings]
    owners: dict[str, str]
    doctor: DoctorSettings
    faults: list[Finding] = field(default_factory=list)
    # Comparing a schema reads the whole catalogue: two services at a time, so that the other checks get their turn.
    comparing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    _databases: dict[str, Database] = field(default_factory=dict)
    _reached: dict[str, "asyncio.Task[str | None]"] = field(default_factory=dict)

    @property
    def is_embedded(self) -> bool:
        return self.folder is not None

    @property
    def where(self) -> str:
        """The data folder, or the servers of the databases that are configured; empty for none."""
        if self.folder is not None:
            return str(self.folder.resolve())
        served = [settings.database_url.get_secret_value() for settings in self.services.values()]
        return servers_of([*served, *self.owners.values()])

    def get_suite(self) -> SuiteSettings:
        """Raises NotChecked while the suite's settings are not whole."""
        if self.suite is None:
            raise NotChecked("unconfigured")
        return self.suite

    def get_service(self, name: str) -> ServiceSettings:
        """Raises NotChecked while the service's settings are not whole."""
        if name not in self.services:
            raise NotChecked("unconfigured")
        return self.services[name]

    def ledger_address(self) -> str:
        """Return the application role's address of the ledger's own database. Raises NotChecked."""
        return cast(PrivacySettings, self.get_service("privacy")).ledger_url.get_secret_value()

    def get_amqp_url(self) -> str | None:
        """Return RabbitMQ's address, None for the local transport. Raises NotChecked."""
        url = self.get_suite().amqp_url
        if url is None and not self.is_embedded:
            raise NotChecked("unconfigured")
        return url.get_secret_value() if url else None

    async def why_unreachable(self, service: str) -> str | None:
        """Try a service's database, or the ledger's, once for all checks: None, "silent", "refused", "missing" or "full"."""
        address = self._address(service)
        if service not in self._reached:
            self._reached[service] = asyncio.create_task(self._reach(service, address))
        return await asyncio.shield(self._reached[service])

    async def database(self, service: str) -> Database:
        """Return a service's database, as its application role. Raises NotChecked when it does not answer."""
        if await self.why_unreachable(service) is not None:
            raise NotChecked("unreachable")
        return self._databases[service]

    @asynccontextmanager
    async def session(self, service: str, tenant_id: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """Yield a transaction of the application role that only reads. Raises NotChecked."""
        database = await self.database(service)
        async with database.transaction(tenant_id) as session:
            await session.execute(text("SET TRANSACTION READ ONLY"))
            yield session

    async def close(self) -> None:
        for task in self._reached.values():
            task.cancel()
        await asyncio.gather(*self._reached.values(), return_exceptions=True)
        for database in self._databases.values():
            await database.close()

    def _address(self, service: str) -> str:
        return self.ledger_address() if service == LEDGER else self.get_service(service).database_url.get_secret_value()

    async def _reach(self, service: str, address: str) -> str | None:
        database = self._databases[service] = Database(address, pool_size=1, application_name="cowork-doctor")
        try:
            async with asyncio.timeout(CONNECT_SECONDS), database.transaction() as session:
                await session.execute(text("SELECT 1"))
        except (*LOST, DBAPIError, TimeoutError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            return _REFUSALS.get(getattr(cause, "sqlstate", ""), "silent")
        return None


def survey(folder: Path) -> Site:
    """Read the configuration: the folder's or the environment's (`find_installation` says which is meant). Never raises."""
    faults: list[Finding] = []
    doctor = _read("", DoctorSettings, faults) or DoctorSettings.model_construct()
    if find_installation(folder) is not None:
        return _embedded(folder, doctor, faults)
    suite = _read("", SuiteSettings, faults)
    services: dict[str, ServiceSettings] = {}
    owners: dict[str, str] = {}
    unchecked = suite or SuiteSettings.model_construct(amqp_url=None, files_url="", internal_urls={})
    for name in SERVICES:
        settings = _read(name, partial(settings_class(name), suite=unchecked), faults)
        if settings is not None:
            services[name] = settings
    for name in DATABASES:
        owner = _read(name, partial(OwnerSettings.of, name), [])
        if owner is not None:
            owners[name] = owner.owner_url.get_secret_value()
    return Site(None, suite, services, owners, doctor, faults)


def _embedded(folder: Path, doctor: DoctorSettings, faults: list[Finding]) -> Site:
    try:
        found = EmbeddedSuite(folder, amqp_url=os.environ.get("COWORK_AMQP_URL"))
        return Site(folder, *found.configuration(), doctor, faults)
    except (OSError, ValueError, TypeError, LookupError, PostgresError):
        # Half a file, or one of another version: whatever it says must not be quoted.
        faults.append(failed("unreadable", path=str(folder / "secrets.json")))
        return Site(folder, None, {}, {}, doctor, faults)


def _read(service: str, make: Callable[[], T], faults: list[Finding]) -> T | None:
    """Return what `make` reads from environment and files; what is wrong is added to `faults`, by the variable's name only."""
    prefix = f"COWORK_{service.upper()}_" if service else "COWORK_"
    try:
        return make()
    except ValidationError as error:
        named = [(prefix + str(one["loc"][0] if one["loc"] else "").upper(), one["type"]) for one in error.errors()]
        missing = [variable for variable, kind in named if kind == "missing"]
        if missing:
            faults.append(failed("missing", about=service, variables=missing))
        for variable, kind in named:
            if kind != "missing":
                faults.append(failed("invalid", about=service, variable=variable, kind=kind))
    except SettingsError as error:
        # Names the field, never its value.
        field_name = re.search(r'field "(\w+)"', str(error))
        faults.append(
            failed(
                "invalid", about=service, variable=prefix + (field_name[1] if field_name else "").upper(), kind="json"
            )
        )
    except OSError as error:
        faults.append(failed("unreadable", about=service, path=str(error.filename)))
    except ValueError:
        faults.append(failed("invalid", about=service, variable=f"{prefix}*", kind="json"))
    return None
