"""Databases and roles: per service, and for the ledger, one database, an owner and an application role that owns nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

EXTENSIONS = ("btree_gin", "btree_gist", "pg_trgm", "unaccent")
# Any two processes that provision the same server wait for each other.
_LOCK = "SELECT pg_advisory_lock(hashtext('cowork provision'))"
_IS_OPEN_TO_ALL = "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
_IS_THE_OWNERS = (
    "SELECT nspowner = to_regrole($1) AND NOT has_schema_privilege('public', oid, 'USAGE')"
    " AND NOT has_schema_privilege('public', oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'"
)


@dataclass(frozen=True, slots=True)
class Names:
    """Database and roles of one service; `prefix` keeps installations on one server apart."""

    database: str
    owner: str
    app: str

    @classmethod
    def of(cls, service: str, prefix: str = "cowork") -> "Names":
        return cls(f"{prefix}_{service}", f"{prefix}_{service}_owner", f"{prefix}_{service}_app")

    def address(self, passwords: tuple[str, str], port: int, *, owner: bool) -> str:
        """Return the SQLAlchemy address on this machine; `passwords` are (owner's, application's)."""
        role, password = (self.owner, passwords[0]) if owner else (self.app, passwords[1])
        return f"postgresql+asyncpg://{role}:{password}@127.0.0.1:{port}/{self.database}"


async def provision(admin_url: str, passwords: Mapping[str, tuple[str, str]], *, prefix: str = "cowork") -> None:
    """Create what is missing for each service of `passwords` (owner's, application's); repeatable, whatever interrupts it."""
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute(_LOCK)
        for service, (owner_password, app_password) in passwords.items():
            names = Names.of(service, prefix)
            await _ensure_role(admin, names.owner, owner_password)
            await _ensure_role(admin, names.app, app_password)
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", names.database):
                await admin.execute(f"CREATE DATABASE {names.database} OWNER {names.owner}")
            await _prepare_database(admin_url, names)
    finally:
        await admin.close()


async def _ensure_role(admin: asyncpg.Connection, role: str, password: str) -> None:
    if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await admin.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
    # A utility statement takes no parameters; quote_literal runs on the server.
    quoted = await admin.fetchval("SELECT quote_literal($1::text)", password)
    await admin.execute(f"ALTER ROLE {role} PASSWORD {quoted}")


async def _prepare_database(admin_url: str, names: Names) -> None:
    """Do what is missing, also in a database that is there: the process that made it may have come no further.

    What is done is left alone: a suite that starts may be migrating, and two who change one grant fail.
    """
    inside = await asyncpg.connect(admin_url, database=names.database)
    try:
        # Both or none, and once: a restore withholds the application role's right until it has come to its end.
        async with inside.transaction():
            if await inside.fetchval(_IS_OPEN_TO_ALL):
                await inside.execute(f"REVOKE ALL ON DATABASE {names.database} FROM PUBLIC")
                await inside.execute(f"GRANT CONNECT ON DATABASE {names.database} TO {names.app}")
        if not await inside.fetchval(_IS_THE_OWNERS, names.owner):
            await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            await inside.execute(f"ALTER SCHEMA public OWNER TO {names.owner}")
        for extension in EXTENSIONS:
            await inside.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    finally:
        await inside.close()
