"""Finding a real RabbitMQ for the tests: given, running, in Docker, installed, or installed now; never skipped."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.bus.amqp import connect
from tests.support.debian import install_debian, may_install
from tests.support.rabbitmq import DEBIAN_BIN, Node, answers

LOCAL_URL = "amqp://guest:guest@127.0.0.1:5672/"

HOW_TO = (
    "The tests need a real RabbitMQ and found none. One of these helps:\n"
    "  COWORK_TEST_AMQP_URL=amqp://user:password@host/ make test\n"
    "  a broker on 127.0.0.1:5672 (guest/guest)\n"
    "  a Docker engine that answers\n"
    "  an installed rabbitmq-server (Debian: apt install rabbitmq-server)"
)


class NoBroker(RuntimeError):
    """No RabbitMQ can be had on this machine; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Broker:
    url: str
    origin: str
    stop: Callable[[], None]


def find_broker() -> Broker:
    """Return the first broker that answers, in the order of architecture §11. Raises NoBroker."""
    for find in (_given, _running, _in_docker, _installed, _installed_now):
        broker = find()
        if broker is not None:
            return broker
    raise NoBroker(HOW_TO)


def _nothing() -> None:
    return None


def _given() -> Broker | None:
    url = os.environ.get("COWORK_TEST_AMQP_URL")
    if not url:
        return None
    if not answers(url):
        raise NoBroker("COWORK_TEST_AMQP_URL does not answer")
    return Broker(url, "COWORK_TEST_AMQP_URL", _nothing)


def _running() -> Broker | None:
    return Broker(LOCAL_URL, "127.0.0.1:5672", _nothing) if answers(LOCAL_URL) else None


def _in_docker() -> Broker | None:
    if shutil.which("docker") is None or subprocess.call(["docker", "info"], stdout=-3, stderr=-3) != 0:
        return None
    from testcontainers.rabbitmq import RabbitMqContainer

    container = RabbitMqContainer("rabbitmq:4")
    container.start()
    port = container.get_exposed_port(5672)
    return Broker(f"amqp://guest:guest@127.0.0.1:{port}/", "Docker", container.stop)


def _installed() -> Broker | None:
    if not (DEBIAN_BIN / "rabbitmq-server").exists():
        return None
    node = Node()
    node.start()
    return Broker(node.url(), "private node of the installed rabbitmq-server", node.close)


def _installed_now() -> Broker | None:
    if not may_install():
        return None
    install_debian("rabbitmq-server")
    return _installed()


async def delete_queues(url: str, namespace: str, services: Iterable[str]) -> None:
    """Leave a broker that others use as it was: delete what a namespace's tests have declared."""
    async with await connect(url) as connection:
        for service in services:
            for kind in ("in", "dead"):
                channel = await connection.channel()
                await channel.queue_delete(f"{namespace}.{service}.{kind}")
                await channel.close()
        channel = await connection.channel()
        for kind in ("events", "dead"):
            await channel.exchange_delete(f"{namespace}.{kind}")
