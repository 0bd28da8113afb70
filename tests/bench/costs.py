"""What a figure costs besides time: CPU from /proc, memory as proportional set size, SQL statements from PostgreSQL."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.embedded.postgres import EmbeddedPostgres
from tests.support.suites import Processes

TICK = os.sysconf("SC_CLK_TCK")
# Only statements that clients send; BEGIN and COMMIT are not among them.
STATEMENTS = """
SELECT coalesce(sum(s.calls), 0)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
WHERE d.datname <> 'postgres'
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of services and of PostgreSQL, and SQL statements, of one stretch of work."""

    service_ms: float
    postgres_ms: float
    statements: int

    def notes(self, requests: int) -> dict[str, float]:
        """Return the cost per request, as a figure's notes."""
        return {
            "cpu_ms": (self.service_ms + self.postgres_ms) / requests,
            "postgres_cpu_ms": self.postgres_ms / requests,
            "statements": self.statements / requests,
        }


class Meter:
    """Reads what the suite and its PostgreSQL have spent since it was made: every service, and relays, counted."""

    def __init__(self, suite: Processes, admin: asyncpg.Connection) -> None:
        self._suite = suite
        self._admin = admin
        self._begun = (0.0, 0.0, 0)

    @classmethod
    async def of(cls, suite: Processes) -> "Meter":
        meter = cls(suite, await asyncpg.connect(suite.postgres.admin_url))
        meter._begun = await meter._read()
        return meter

    async def spent(self) -> Cost:
        """Return what was spent since `of`, and end."""
        now = await self._read()
        await self._admin.close()
        service, postgres, statements = (later - before for later, before in zip(now, self._begun, strict=True))
        return Cost(service, postgres, int(statements))

    async def _read(self) -> tuple[float, float, int]:
        statements = await self._admin.fetchval(STATEMENTS)
        return sum(map(cpu_ms, self._suite.pids())), postgres_ms(self._suite.postgres), statements


def cpu_ms(pid: int) -> float:
    """Return user and system time of a process, without its children."""
    fields = _stat(pid)
    return sum(map(int, fields[11:13])) * 1000 / TICK


def postgres_ms(postgres: EmbeddedPostgres) -> float:
    """Return the time of the server, of its backends, and of those that have ended."""
    server, *backends = postgres.memory_pids()
    running = 0.0
    for backend in backends:
        # One that has just ended is counted with the server, which is read after it.
        with suppress(FileNotFoundError, ProcessLookupError):
            running += cpu_ms(backend)
    return running + sum(map(int, _stat(server)[11:15])) * 1000 / TICK


def memory_mb(pids: Iterable[int]) -> float:
    """Return the proportional set size of processes: what they share is counted once."""
    return sum(_pss_kb(pid) for pid in pids) / 1024


def _pss_kb(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("\nPss:", 1)[1].split()[0])


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the command's name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
