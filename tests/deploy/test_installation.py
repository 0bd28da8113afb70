"""`cowork init`: secret files per container, and what their bearers may do at the broker."""

import asyncio
import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest
from aio_pika.exceptions import AMQPError

from deploy.installation import VHOST, write_env, write_installation
from deploy.suite import subscriptions
from deploy.topology import declare
from shared.bus.amqp import AmqpTransport
from shared.bus.contracts import Envelope
from shared.bus.transport import Delivery, TransportDown
from shared.db import utc_now, uuid7
from shared.events import SERVICES
from shared.events.feed import PostPublished
from shared.migrate import ROOT
from tests.support.rabbitmq import Node

COMPOSE = ROOT / "deploy" / "compose"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_installation(tmp_path / "secrets", postgres="postgres:5432", rabbitmq="rabbitmq:5672")
    return tmp_path / "secrets"


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_its_owners_and_what_stands_is_kept(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("installation.json", "servers.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    before = files(folder)
    assert write_installation(folder, postgres="postgres:5432", rabbitmq="rabbitmq:5672") == []
    assert files(folder) == before
    (folder / "feed" / "COWORK_FEED_CLIENT_SECRET").unlink()
    written = write_installation(folder, postgres="postgres:5432", rabbitmq="rabbitmq:5672")
    assert written == ["feed/COWORK_FEED_CLIENT_SECRET"], "what is missing is made from what is known"
    assert files(folder) == before


def test_an_address_that_was_given_once_is_kept(folder: Path) -> None:
    write_installation(folder, postgres="db.example.com:6432")
    write_installation(folder)
    assert "@db.example.com:6432/" in files(folder)["feed/COWORK_FEED_DATABASE_URL"]
    assert "@rabbitmq:5672/" in files(folder)["feed/COWORK_AMQP_URL"]


def test_no_service_is_given_what_is_anothers(folder: Path) -> None:
    made = json.loads((folder / "installation.json").read_text())
    owners = {name: password for name, (password, _) in made["databases"].items()}
    for service in SERVICES:
        own = "".join(content for name, content in files(folder).items() if name.startswith(f"{service}/"))
        for other in SERVICES:
            assert owners[other] not in own, f"{service} serves with an owner's password"
            if other != service:
                foreign = (made["clients"][other], made["digest_keys"][other], made["databases"][other][1])
                assert not [secret for secret in foreign if secret in own], f"{service} has a secret of {other}"


def test_settings_that_an_operator_has_changed_are_kept(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert write_env(path)
    path.write_text("COWORK_SMTP_HOST=mail.example.com\n")
    assert not write_env(path)
    assert path.read_text() == "COWORK_SMTP_HOST=mail.example.com\n"


def test_the_command_prints_no_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.cli", "init", "--folder", str(tmp_path / "secrets")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name, content in files(tmp_path / "secrets").items():
        if not name.endswith(".json"):
            assert content not in done.stdout + done.stderr
    assert "installation.json" in done.stderr


def test_the_compose_file_mounts_what_init_writes_and_asks_for_what_it_sets(folder: Path) -> None:
    compose = (COMPOSE / "compose.yaml").read_text()
    mounted = set(re.findall(r"source: \./secrets/([a-z-]+)", compose))
    assert mounted == {name.split("/")[0] for name in files(folder) if "/" in name}
    write_env(folder.parent / ".env")
    asked = set(re.findall(r"\$\{(\w+):\?", compose))
    assert asked <= set(re.findall(r"^(\w+)=", (folder.parent / ".env").read_text(), re.M))
    for word in ("guest", "changeme", "password:"):
        assert word not in compose


class Broker:
    """A node that has loaded the definitions, with every queue declared."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self._passwords = json.loads((folder / "servers.json").read_text())["broker_passwords"]

    def url(self, user: str) -> str:
        return self.node.url(user, self._passwords[user], VHOST)


@pytest.fixture
def broker(folder: Path) -> Iterator[Broker]:
    with Node() as node:
        node.ctl("import_definitions", str(folder / "rabbitmq" / "definitions.json"))
        yield Broker(node, folder)


async def until_declared(url: str) -> None:
    """Declare every queue, as soon as a node that has just started on a busy machine lets us."""
    async with asyncio.timeout(60):
        while True:
            try:
                await declare(url, namespace="cowork", subscriptions=subscriptions())
            except TimeoutError:
                continue
            return


async def attempt(url: str, what: str) -> str:
    """Try one thing as feed would not; return what the broker says."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("cowork.events")
        try:
            if what == "publish":
                await exchange.publish(aio_pika.Message(b"{}"), "billing.invoice.paid.v1", mandatory=False)
            elif what == "consume":
                await (await channel.get_queue("cowork.billing.in")).get(fail=False)
            elif what == "bind":
                await (await channel.get_queue("cowork.feed.in")).bind(exchange, "helpdesk.ticket.opened.v1")
            elif what == "bury":
                dead = await channel.get_exchange("cowork.dead")
                await dead.publish(aio_pika.Message(b"{}"), "cowork.billing.dead", mandatory=False)
            elif what == "send":
                await channel.default_exchange.publish(aio_pika.Message(b"{}"), "cowork.billing.in", mandatory=False)
            elif what == "lead on":
                await exchange.bind(await channel.get_exchange("cowork.dead"), "cowork.billing.dead")
            elif what == "delete":
                await channel.queue_delete("cowork.feed.in")
            else:
                await channel.declare_queue("cowork.feed.copy", durable=True)
        except AMQPError as error:
            return str(error)
    return "done"


async def test_a_service_publishes_its_own_events_and_reads_its_own_queue_only(broker: Broker) -> None:
    await until_declared(broker.url("operator"))
    types, seen = subscriptions(), asyncio.Queue[Delivery]()
    feed, notify = (
        AmqpTransport(
            broker.url(service), namespace="cowork", subscribed={one for all_ in types.values() for one in all_}
        )
        for service in ("feed", "notify")
    )
    consuming = asyncio.create_task(notify.consume("notify", types["notify"], seen.put_nowait, limit=10))
    event = PostPublished(tenant_id=uuid7(), post_id=uuid7(), author_id=uuid7(), is_announcement=False)
    data = event.model_dump(mode="json")
    assert await feed.publish([Envelope(uuid7(), event.type, event.tenant_id, event.key, 1, 0, utc_now(), data)]) == [
        True
    ]
    assert (await asyncio.wait_for(seen.get(), 30)).sent_as == event.type
    consuming.cancel()
    await feed.close()
    await notify.close()
    for what in ("publish", "consume", "bind", "bury", "send", "lead on", "delete", "declare"):
        assert "ACCESS_REFUSED" in await attempt(broker.url("feed"), what), what


async def test_a_service_whose_queue_is_missing_waits_for_the_topology_job(broker: Broker) -> None:
    await until_declared(broker.url("operator"))
    broker.node.delete_queue("cowork.notify.in", vhost=VHOST)
    notify = AmqpTransport(broker.url("notify"), namespace="cowork", subscribed=[])
    with pytest.raises(TransportDown):
        await notify.consume("notify", subscriptions()["notify"], lambda _: None, limit=10)
    await until_declared(broker.url("operator"))
    consuming = asyncio.create_task(notify.consume("notify", subscriptions()["notify"], lambda _: None, limit=10))
    assert await asyncio.wait({consuming}, timeout=1) == (set(), {consuming})
    consuming.cancel()
    await notify.close()


async def test_nobody_comes_in_by_a_wrong_password(broker: Broker) -> None:
    with pytest.raises(AMQPError):
        await aio_pika.connect(broker.node.url("feed", "wrong", VHOST))
    with pytest.raises(AMQPError):
        await aio_pika.connect(broker.url("feed").removesuffix(VHOST) + "%2F")
