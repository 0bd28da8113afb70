"""An embedded installation's folder: one suite at a time, nobody else's to read, and taken only when it is meant."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.backup.drill import scratch_place
from deploy.backup.files import files_of
from deploy.backup.places import LEDGER, Place, open_place
from deploy.cli.backup import _agreed
from deploy.embedded.account import PostgresError
from deploy.embedded.folder import DEFAULT_FOLDER, find_installation, servers_of
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.secrets import load_or_make
from deploy.embedded.suite import EmbeddedSuite
from shared.migrate import ROOT
from tests.support.commands import cowork
from tests.support.patient import environment

OWNER = "COWORK_FEED_OWNER_URL"
ELSEWHERE = "postgresql+asyncpg://cowork_feed_owner:hush@db.example.com:6432/cowork_feed"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cowork-folder-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody has tried the suite out below the folder that they work in now."""
    monkeypatch.chdir(folder)
    load_or_make(DEFAULT_FOLDER)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_second_start_is_refused_and_ends_nothing(folder: Path) -> None:
    first, second = (EmbeddedPostgres(folder / "pg", durable=False) for _ in range(2))
    await first.start()
    pid = first.memory_pids()[0]
    with pytest.raises(PostgresError, match=rf"another cowork \(process {os.getpid()}\) is at work in .*pg"):
        await second.start()
    await second.stop()
    assert first.memory_pids()[0] == pid, "it is still there"
    await first.stop()
    await second.start()
    await second.stop()


HOLDER = """
import asyncio, sys
from pathlib import Path
from deploy.embedded.postgres import EmbeddedPostgres

async def hold():
    server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
    await server.start()
    print(server.memory_pids()[0], flush=True)
    await asyncio.sleep(600)

asyncio.run(hold())
"""


async def test_whoever_was_killed_keeps_nobody_from_starting_again(folder: Path) -> None:
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(folder / "pg"), stdout=asyncio.subprocess.PIPE, env=clean
    )
    assert holder.stdout is not None
    orphan = int(await holder.stdout.readline())
    again = EmbeddedPostgres(folder / "pg", durable=False)
    try:
        with pytest.raises(PostgresError, match=f"process {holder.pid}"):
            await again.start()
    finally:
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
    assert await again.find(), "its server has outlived it"
    await again.start()
    assert again.memory_pids()[0] != orphan
    await again.stop()


async def test_a_port_that_is_taken_is_named_before_anything_is_started(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        suite = EmbeddedSuite(folder, port=taken.getsockname()[1], durable=False)
        with pytest.raises(OSError, match=str(taken.getsockname()[1])):
            await suite.start()
        await suite.stop()
    assert not (suite.postgres.folder / "data").exists()
    suite.postgres.lock.take()
    await suite.postgres.stop()


async def test_while_somebody_works_with_a_stopped_installation_no_suite_starts_in_it(folder: Path) -> None:
    load_or_make(folder)
    (folder / "files").mkdir(mode=0o755)
    async with open_place(folder) as place:
        assert place.where == str(folder.resolve())
        assert mode(folder / "files") == 0o700, "also where it stood open before"
        with pytest.raises(PostgresError, match="another cowork"):
            EmbeddedPostgres(folder / "postgres").lock.take()
        async with open_place(folder) as other:
            assert other.owners == place.owners, "two commands may share the server"
    EmbeddedPostgres(folder / "postgres").lock.take()


async def test_what_a_drill_restores_is_nobody_elses_to_read(urls: Any) -> None:
    live = Place({LEDGER: urls[LEDGER].owner}, "k" * 48, "file:///nowhere")
    async with scratch_place(live) as scratch:
        files = Path(scratch.files_url.removeprefix("file://"))
        await files_of(scratch.files_url, "feed").put("picture", b"of somebody")
        assert mode(files) == 0o700


def test_the_environment_comes_before_a_folder_that_nobody_has_named(tried: Path) -> None:
    named = Path("var") / "cowork"
    with environment({}):
        assert find_installation(DEFAULT_FOLDER) == DEFAULT_FOLDER
        assert find_installation(tried / "elsewhere") is None
    secrets = tried / "secrets"
    secrets.mkdir()
    (secrets / "COWORK_BILLING_DATABASE_URL").write_text(ELSEWHERE)
    for configured in ({OWNER: ELSEWHERE}, {f"{OWNER}_FILE": "/nowhere"}, {"COWORK_SECRETS": str(secrets)}):
        with environment(configured):
            assert find_installation(DEFAULT_FOLDER) is None
            assert find_installation(named) == named, "a folder that somebody names comes first"


def test_commands_say_which_installation_they_take(tried: Path) -> None:
    def examined(*arguments: str, **variables: str) -> str:
        done = cowork("doctor", "settings", "--json", *arguments, where=tried, **variables)
        assert "hush" not in done.stdout + done.stderr
        place: str = json.loads(done.stdout)["place"]
        return place

    folder = str((tried / DEFAULT_FOLDER).resolve())
    assert examined() == folder
    assert examined(**{OWNER: ELSEWHERE}) == "db.example.com:6432"
    assert examined("--data", "var/cowork", **{OWNER: ELSEWHERE}) == folder
    assert examined(**{OWNER: ELSEWHERE, "COWORK_DATA": "var/cowork"}) == folder
    shown = cowork("doctor", "settings", where=tried, LANG="fr", **{OWNER: ELSEWHERE})
    assert "Installation : db.example.com:6432" in shown.stdout
    for command in (["backup", "new"], ["restore", "old"], ["drill", "old"], ["ledger", "verify"], ["dlq", "list"]):
        refused = cowork(*command, where=tried, **{OWNER: ELSEWHERE})
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "the environment names databases, so the installation in var/cowork is not taken" in refused.stderr
    assert not (tried / "new").exists()


async def test_a_backup_says_where_it_comes_from_and_a_restore_what_it_would_replace(
    place: Place, tried: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {f"COWORK_{name.upper()}_OWNER_URL": address for name, address in place.owners.items()}
    variables |= {"COWORK_FILES_URL": place.files_url, "COWORK_PRIVACY_LEDGER_KEY": place.ledger_key}
    variables |= {name: os.environ[name] for name in ("COWORK_PG_BIN",) if name in os.environ}
    done = await asyncio.to_thread(cowork, "backup", "made", "--json", where=tried, **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["place"] == place.where == servers_of(place.owners.values())
    assert f"installation: {place.where}" in done.stderr
    assert os.environ["COWORK_RUN_PASSWORD"] not in done.stdout + done.stderr
    plan: Any = None
    assert not _agreed(place, plan)
    assert place.where in capsys.readouterr().err
