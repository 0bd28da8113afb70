"""The command: what is missing is named, what is wrong exits with its code, secrets are never shown."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

from deploy.backup.places import LEDGER, Place
from deploy.backup.wiping import wipe
from services.privacy.ledger.database import ledger_differences
from shared.events import SERVICES
from tests.support.broker import delete_queues
from tests.support.commands import cowork
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SUITE = {
    "COWORK_FILES_URL": "file:///nowhere",
    "COWORK_AMQP_URL": "amqp://nobody@127.0.0.1:9/",
    "COWORK_INTERNAL_URLS": '{"identity": "http://127.0.0.1:9"}',
}
OF_SERVICE = ("DATABASE_URL", "CLIENT_SECRET", "DIGEST_KEY")


def test_config_check_names_what_is_missing_and_shows_no_secret() -> None:
    found = cowork("config", "check", "identity", COWORK_IDENTITY_KEY_SECRET="much-too-short-a-secret")
    assert found.returncode == 1
    for name in ("COWORK_FILES_URL", "COWORK_IDENTITY_DATABASE_URL", "COWORK_IDENTITY_KEY_SECRET"):
        assert name in found.stdout
    assert "much-too-short" not in found.stdout + found.stderr


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 40 + "\n")
    environment = {**SUITE, **{f"COWORK_FEED_{name}_FILE": str(secret) for name in OF_SERVICE}}
    found = cowork("config", "check", "feed", **environment)
    assert (found.returncode, found.stdout.strip()) == (0, "✓ configured")
    shown = cowork("config", "print", "feed", **environment)
    assert shown.returncode == 0
    assert "s" * 40 not in shown.stdout


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ("COWORK_AMQP_URL", "COWORK_AMQP_URL: separate processes need RabbitMQ"),
        ("COWORK_INTERNAL_URLS", "COWORK_INTERNAL_URLS: no address for identity"),
        ("COWORK_FEED_DIGEST_KEY", "COWORK_FEED_DIGEST_KEY: Field required"),
    ],
)
def test_config_check_names_what_separate_processes_need(without: str, says: str) -> None:
    environment = {**SUITE, **{f"COWORK_FEED_{name}": "s" * 40 for name in OF_SERVICE}}
    del environment[without]
    found = cowork("config", "check", "feed", **environment)
    assert (found.returncode, says in found.stdout) == (1, True), found.stdout


def test_a_service_that_nobody_could_identify_itself_to_is_not_configured() -> None:
    names = (*OF_SERVICE, "KEY_SECRET", "OPERATOR_SECRET")
    found = cowork("config", "check", "identity", **SUITE, **{f"COWORK_IDENTITY_{name}": "s" * 48 for name in names})
    assert (found.returncode, found.stdout.count("✗")) == (1, 1), found.stdout
    assert "COWORK_IDENTITY_CLIENT_DIGESTS" in found.stdout


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"COWORK_FEED_DATABASE_URL_FILE": "/nowhere/secret"}, "/nowhere/secret"),
        ({"COWORK_INTERNAL_URLS": "{not json: s3cret"}, "internal_urls"),
        ({"COWORK_FEED_POOL_SIZE": "many"}, "COWORK_FEED_POOL_SIZE"),
    ],
)
@pytest.mark.parametrize("command", [("config", "check"), ("config", "print"), ("serve",)])
def test_a_setting_that_cannot_be_read_is_named(command: tuple[str, ...], setting: dict[str, str], says: str) -> None:
    environment = {**SUITE, **{f"COWORK_FEED_{name}": "s" * 40 for name in OF_SERVICE}}
    if "COWORK_FEED_DATABASE_URL_FILE" in setting:
        del environment["COWORK_FEED_DATABASE_URL"]
    found = cowork(*command, "feed", **{**environment, **setting})
    said = found.stdout + found.stderr
    assert found.returncode in (1, 2)
    assert says in said
    assert "Traceback" not in said
    assert "s3cret" not in said


def test_two_processes_on_one_port_are_told_apart() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {**SUITE, **{f"COWORK_FEED_{name}": "s" * 40 for name in OF_SERVICE}}
        environment["COWORK_FEED_DATABASE_URL"] = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"
        found = cowork("serve", "feed", "--internal-port", str(port), **environment)
    assert (found.returncode, f"127.0.0.1:{port}" in found.stderr) == (1, True), found.stderr
    assert "Traceback" not in found.stderr


def test_the_command_works_from_any_folder(tmp_path: Path) -> None:
    """A timer starts it somewhere else, and its checkout may have a space in its name."""
    checkout = tmp_path / "my checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("deploy", "shared", "cowork", "Makefile", "requirements"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / ".venv" / "run.stamp").touch()
    done = subprocess.run(
        [str(checkout / "cowork"), "--help"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, "doctor" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["serve", "feed"], 2, "feed is not configured"),
        (["serve", "feed"], 2, "COWORK_FEED_DATABASE_URL: Field required"),
        (["serve", "nonsense"], 2, "nonsense"),
        (["privacy", "manifest", "nonsense"], 4, "identity, booking"),
        (["dlq", "retry", "feed", "not-a-uuid"], 2, "not-a-uuid"),
        (["backup", "backup", "--data", "/nowhere"], 2, "COWORK_FEED_OWNER_URL"),
        (["restore", "backup", "--data", "/nowhere"], 2, "COWORK_PRIVACY_LEDGER_KEY"),
        (["ledger", "migrate"], 2, "COWORK_LEDGER_OWNER_URL"),
        (["migrate", "--check"], 2, "COWORK_LEDGER_OWNER_URL"),
        (["topology"], 2, "COWORK_FILES_URL"),
        (["erasure", "list", "--data", "/nowhere"], 2, "privacy is not configured"),
        (["dlq", "list", "nonsense"], 2, "nonsense"),
        (["config", "print", "nonsense"], 2, "nonsense"),
        (["config", "print", "feed"], 2, "COWORK_FEED_DATABASE_URL: Field required"),
        (["dlq", "discard", "feed", "01890a5d-ac96-774b-bcce-b302099a8057"], 1, "--yes"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], code: int, says: str) -> None:
    found = cowork(*arguments)
    assert found.returncode == code, found.stdout + found.stderr
    assert says in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


async def test_a_database_that_is_away_is_said_in_a_line() -> None:
    away = f"postgresql+asyncpg://owner:s3cret@127.0.0.1:{free_port()}/nothing"
    owners = {f"COWORK_{name.upper()}_OWNER_URL": away for name in (*SERVICES, LEDGER)}
    for command in (["migrate"], ["migrate", "--check"], ["ledger", "migrate"]):
        found = await asyncio.to_thread(cowork, *command, **owners)
        assert (found.returncode, "Traceback" in found.stderr) == (1, False), found.stderr
        assert "s3cret" not in found.stderr


async def test_what_keeps_the_topology_from_being_declared_is_said(amqp_url: str) -> None:
    namespace = f"t{uuid4().hex[:10]}"
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue(f"{namespace}.identity.in", durable=True)
    settings = {"COWORK_FILES_URL": "file:///nowhere", "COWORK_NAMESPACE": namespace}
    try:
        found = await asyncio.to_thread(cowork, "topology", COWORK_AMQP_URL=amqp_url, **settings)
        assert (found.returncode, f"{namespace}.identity.in exists" in found.stderr) == (1, True), found.stderr
        assert "outbox redrive" in found.stderr
        away = f"amqp://guest:secret@127.0.0.1:{free_port()}/"
        found = await asyncio.to_thread(cowork, "topology", COWORK_AMQP_URL=away, **settings)
        assert (found.returncode, "RabbitMQ does not let us declare" in found.stderr) == (1, True), found.stderr
        assert "secret" not in found.stderr
    finally:
        await delete_queues(amqp_url, namespace, ["identity"])


async def test_all_databases_are_migrated_and_the_ledgers_with_them(place: Place) -> None:
    owners = {f"COWORK_{name.upper()}_OWNER_URL": address for name, address in place.owners.items()}
    await wipe(place.owners[LEDGER])
    behind = await asyncio.to_thread(cowork, "migrate", "--check", **owners)
    assert (behind.returncode, re.search(r"ledger: \d+ differences", behind.stderr) is not None) == (1, True)
    migrated = await asyncio.to_thread(cowork, "migrate", **owners)
    assert (migrated.returncode, "ledger: migrated" in migrated.stderr) == (0, True), migrated.stderr
    assert await ledger_differences(place.owners[LEDGER]) == []


def test_the_register_is_read_from_the_marks() -> None:
    found = cowork("privacy", "register", "--language", "fr")
    assert found.returncode == 0
    assert "| billing | accounting | legal_obligation |" in found.stdout
    assert "aucun tiers" in found.stdout


# Runs in a process of its own: what its lock does not hold cannot be imported there.
IMAGE = """
import re, sys
from importlib.metadata import packages_distributions

normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
locked = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", open(sys.argv[2]).read(), re.M)}
packages = packages_distributions()

class Missing:
    def find_spec(self, name, path=None, target=None):
        of = packages.get(name.split(".")[0])
        if of and not locked & {normal(one) for one in of}:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)

sys.meta_path.insert(0, Missing())
service = sys.argv[1]
import importlib
import deploy.suite
from deploy.cli import app, bus, config, init, mistakes, serve
from shared.migrate import metadata_of
importlib.import_module(f"services.{service}.app")
if service == "privacy":
    importlib.import_module("deploy.cli.ledger")
deploy.suite.settings_class(service), metadata_of(service), deploy.suite.subscriptions()
print(*{name.split(".")[1] for name in sys.modules if name.startswith("services.")})
"""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_served_and_migrated_where_no_other_one_is(tmp_path: Path, service: str) -> None:
    """An image holds `shared`, `deploy`, one service and its lock's packages: what its processes import must be there."""
    without_caches = shutil.ignore_patterns("__pycache__")
    for folder in ("shared", "deploy", f"services/{service}"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=without_caches)
    named = re.search(rf"SERVICE: {service}, REQUIREMENTS: (\w+)", (ROOT / "deploy/compose/compose.yaml").read_text())
    lock = ROOT / "requirements" / f"{named[1] if named else 'service'}.lock"
    done = subprocess.run(
        [sys.executable, "-c", IMAGE, service, str(lock)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stdout.split()) == (0, [service]), done.stderr
