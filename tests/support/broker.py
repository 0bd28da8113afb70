"""Finding a real RabbitMQ for the tests: given, running, in Docker, installed, or installed now; never skipped."""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import aio_pika

LOCAL_URL = "amqp://guest:guest@127.0.0.1:5672/"
DEBIAN_BIN = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 90

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


def answers(url: str, *, seconds: float = 10.0) -> bool:
    """Whether an AMQP handshake with `url` succeeds (an open port is not enough)."""

    async def handshake() -> None:
        connection = await aio_pika.connect(url, timeout=seconds)
        await connection.close()

    try:
        asyncio.run(asyncio.wait_for(handshake(), seconds + 1))
    except Exception:  # noqa: BLE001 (whatever a stranger on that port says, it is no broker for us)
        return False
    return True


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
    return start_private_node() if (DEBIAN_BIN / "rabbitmq-server").exists() else None


def _installed_now() -> Broker | None:
    """Debian's package, when we are root; its own system service stays off."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    policy = Path("/usr/sbin/policy-rc.d")
    had_policy = policy.exists()
    if not had_policy:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"]
        subprocess.run(install, check=True, **quiet)
    finally:
        if not had_policy:
            policy.unlink()
    return start_private_node()


async def delete_queues(url: str, namespace: str, services: Iterable[str]) -> None:
    """Leave a broker that others use as it was: delete what a namespace's tests have declared."""
    connection = await aio_pika.connect(url, timeout=10)
    async with connection:
        for service in services:
            for kind in ("in", "dead"):
                channel = await connection.channel()
                await channel.queue_delete(f"{namespace}.{service}.{kind}")
                await channel.close()
        channel = await connection.channel()
        for kind in ("events", "dead"):
            await channel.exchange_delete(f"{namespace}.{kind}")


def start_private_node() -> Broker:
    """Start a node of the installed package on free loopback ports, without systemd, as any user."""
    folder = Path(tempfile.mkdtemp(prefix="cowork-rabbitmq-"))
    ports = [_free_port() for _ in range(3)]
    environment = _node_environment(folder, *ports)
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen(
            [str(DEBIAN_BIN / "rabbitmq-server")],
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    url = f"amqp://guest:guest@127.0.0.1:{ports[0]}/"

    def stop() -> None:
        control = [str(DEBIAN_BIN / "rabbitmqctl"), "-n", environment["RABBITMQ_NODENAME"], "shutdown"]
        subprocess.call(control, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)

    deadline = time.monotonic() + START_SECONDS
    while not answers(url, seconds=1.0):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoBroker(f"the private RabbitMQ node did not start:\n{(folder / 'out.log').read_text()[-1500:]}")
        time.sleep(0.3)
    return Broker(url, "private node of the installed rabbitmq-server", stop)


def _node_environment(folder: Path, port: int, distribution: int, names: int) -> dict[str, str]:
    home = folder / "home"
    home.mkdir()
    cookie = home / ".erlang.cookie"
    cookie.write_text(secrets.token_hex(16))
    cookie.chmod(0o400)
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 200MB\n")
    (folder / "enabled_plugins").write_text("[].")
    (folder / "env.conf").touch()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_NODENAME": f"cowork{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        # No busy wait: it matters on two cores.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
