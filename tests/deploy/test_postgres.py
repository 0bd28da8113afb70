"""The embedded PostgreSQL: data survives, a killed server is found again, strangers stay out, clear words when it cannot start."""

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from deploy.backup.drill import scratch_place
from deploy.backup.places import Place
from deploy.embedded.account import PostgresError
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.provision import Names, provision


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cowork-pg-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def rows(server: EmbeddedPostgres, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(server.admin_url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def test_data_survives_a_restart_and_a_kill(folder: Path) -> None:
    first = EmbeddedPostgres(folder / "pg", durable=False)
    await first.start()
    await rows(first, "CREATE TABLE kept AS SELECT 42 AS value")
    await first.stop()
    second = EmbeddedPostgres(folder / "pg", durable=False)
    await second.start()
    pid = int((second.folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    await second.stop()
    third = EmbeddedPostgres(folder / "pg", durable=False)
    await third.start()
    assert [row["value"] for row in await rows(third, "SELECT value FROM kept")] == [42]
    await third.stop()


async def test_a_server_that_is_too_busy_to_answer_is_not_taken_for_absent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = EmbeddedPostgres(folder / "pg", durable=False), EmbeddedPostgres(folder / "pg", durable=False)
    assert not await other.find()
    await server.start()
    assert await other.find()
    assert other.port == server.port
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    monkeypatch.setattr("deploy.embedded.postgres.START_SECONDS", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(PostgresError, match="does not answer"):
            await other.find()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(await rows(server, "SELECT 1")) == 1, "it is still there"
    await server.stop()


async def test_nobody_enters_without_the_password_and_nothing_personal_is_logged(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg", durable=False)
    await server.start()
    place = server.admin_url.rsplit("@", 1)[1]
    for password in ("", "wrong"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(f"postgresql://cowork:{password or 'none'}@{place}")
    with pytest.raises(asyncpg.PostgresError):
        await rows(server, "SELECT 'planted@example.org'::int")
    await server.stop()
    assert "planted" not in (server.folder / "postgres.log").read_text()
    assert (server.folder / "password").stat().st_mode & 0o077 == 0


async def test_a_folder_of_another_version_is_refused_with_the_way_out(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg", durable=False)
    await server.start()
    await server.stop()
    (server.folder / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(PostgresError, match=r"made by PostgreSQL 12.*COWORK_PG_BIN"):
        await EmbeddedPostgres(folder / "pg").start()


async def test_missing_binaries_are_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("deploy.embedded.postgres.find_spec", lambda _: None)
    monkeypatch.setattr("deploy.embedded.postgres.SYSTEM", folder)
    monkeypatch.setenv("COWORK_PG_BIN", str(folder / "nowhere"))
    with pytest.raises(PostgresError, match="COWORK_PG_BIN"):
        await EmbeddedPostgres(folder / "pg").start()
    with pytest.raises(PostgresError, match="run `cowork drill` where both are"):
        async with scratch_place(Place({}, "key", "file:///nowhere")):
            raise AssertionError("there is nothing to start")


async def test_a_service_cannot_enter_anothers_database_and_owns_nothing(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg", durable=False)
    await server.start()
    passwords = {"feed": ("owner-a", "app-a"), "booking": ("owner-b", "app-b")}
    for _ in range(2):
        await provision(server.admin_url, passwords)
    feed, booking = Names.of("feed"), Names.of("booking")
    place = f"127.0.0.1:{server.port}"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"postgresql://{feed.app}:app-a@{place}/{booking.database}")
    own = await asyncpg.connect(f"postgresql://{feed.app}:app-a@{place}/{feed.database}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await own.execute("CREATE TABLE public.mine (x int)")
    await own.close()
    await server.stop()
