"""Who may come in while databases are restored: nobody, and PostgreSQL itself sees to it.

The application roles lose the right to connect before anything is touched and get it back when everything is proven.
Whatever interrupts a restore in between leaves the right withheld: no process, however old or new, can serve from it.
"""

from collections.abc import Iterable

import asyncpg

from deploy.backup.places import connected
from deploy.embedded.account import PostgresError

_IS_WITHHELD = (
    "SELECT d.datname FROM pg_database d JOIN pg_roles r ON r.rolname = d.datname || '_app'"
    " WHERE d.datname LIKE 'cowork\\_%' AND NOT has_database_privilege(r.oid, d.oid, 'CONNECT')"
)


class RestoreUnfinished(PostgresError):
    """A restore was interrupted: nothing is served from half of it."""


async def refuse_half_restored(admin_url: str) -> None:
    """Raise RestoreUnfinished when a database of this server is closed by a restore that has not come to its end."""
    admin = await asyncpg.connect(admin_url)
    try:
        closed = await admin.fetch(_IS_WITHHELD)
    finally:
        await admin.close()
    if closed:
        raise RestoreUnfinished(
            "a restore of this installation has not come to its end: run `cowork restore` again, nothing is served before"
        )


async def is_open_to_all(address: str) -> bool:
    """Whether every role may connect (PostgreSQL's default): then withdrawing our own role's right closes nothing."""
    async with connected(address) as owner:
        return bool(await owner.fetchval("SELECT has_database_privilege('public', current_database(), 'CONNECT')"))


async def close_gate(addresses: Iterable[str]) -> None:
    for address in addresses:
        await _change(address, "REVOKE CONNECT ON DATABASE {database} FROM {app}")


async def open_gate(addresses: Iterable[str]) -> None:
    for address in addresses:
        await _change(address, "GRANT CONNECT ON DATABASE {database} TO {app}")


async def is_closed(address: str) -> bool:
    """Whether the application role may not connect."""
    async with connected(address) as owner:
        may = await owner.fetchval(
            "SELECT has_database_privilege($1, current_database(), 'CONNECT')", await _app(owner)
        )
    return not may


async def who_serves(address: str) -> str | None:
    """Say who is at work in a database: connections of its application role, or a lease that is held; None = nobody."""
    async with connected(address) as owner:
        connections = await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1",
            await _app(owner),
        )
        if connections:
            return f"{connections} connections of the application role"
        if await owner.fetchval("SELECT to_regclass('public.leases') IS NULL"):
            return None
        held = await owner.fetch("SELECT name FROM leases WHERE expires_at > clock_timestamp() ORDER BY name")
    return f"held leases ({', '.join(row['name'] for row in held)})" if held else None


async def _change(address: str, statement: str) -> None:
    async with connected(address) as owner:
        names = await owner.fetchrow(
            "SELECT quote_ident(current_database()) AS database, quote_ident($1) AS app", await _app(owner)
        )
        await owner.execute(statement.format(**names))


async def _app(owner: asyncpg.Connection) -> str:
    role: str = await owner.fetchval("SELECT current_user::text")
    return role.removesuffix("_owner") + "_app"
