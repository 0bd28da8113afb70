"""RabbitMQ nodes of Debian's package that a test may kill, freeze, starve, wipe and join into a cluster.

Everything here is synchronous and takes seconds: call it with `asyncio.to_thread` from a running loop. A node needs
no systemd, no particular user, and nothing in /etc or /var; it listens on loopback only.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aio_pika

from tests.support.ports import free_port

DEBIAN_BIN = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 90
STOP_SECONDS = 60
FREEZE_SECONDS = 10


class NodeDied(RuntimeError):
    """A node ended, or does not answer in time; the message holds the end of its log."""


class ControlFailed(RuntimeError):
    """rabbitmqctl refused; the message is what it said."""


class Realm:
    """What nodes share that may know each other: a cookie, and Erlang's port mapper on a port of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cowork-rabbitmq-"))
        self.names_port = free_port()
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        # In the foreground, so that it is ours to end: the one that `erl` starts by itself outlives its nodes.
        command = ["epmd", "-address", "127.0.0.1", "-port", str(self.names_port)]
        self._names = subprocess.Popen(command, start_new_session=True, stdin=-3, stdout=-3, stderr=-3)
        while not listens(self.names_port):
            assert self._names.poll() is None, "Erlang's port mapper ended at once"
            time.sleep(0.01)

    def close(self) -> None:
        self._names.kill()
        self._names.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Node:
    """One node; its ports, its name and its cookie stay the same over restarts, kills and wipes.

    `settings` are lines of rabbitmq.conf. `close` (or the end of a `with` block) leaves no process and no file.
    """

    def __init__(self, realm: Realm | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._own_realm = None if realm else Realm()
        self._realm = realm or self._own_realm
        assert self._realm is not None
        self.port, self._distribution_port = free_port(), free_port()
        self.name = f"cowork{self.port}@localhost"
        self.folder = self._realm.folder / str(self.port)
        self.folder.mkdir()
        self._environment = self._environment_of(self._realm)
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "enabled_plugins").write_text("[].")
        (self.folder / "env.conf").touch()
        self.configure(settings or {})

    def configure(self, settings: Mapping[str, str]) -> None:
        """Replace the settings; they hold from the next start."""
        lines = {"listeners.tcp.1": f"127.0.0.1:{self.port}", "disk_free_limit.absolute": "200MB", **settings}
        (self.folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))

    @property
    def pid(self) -> int:
        """The Erlang VM itself, no wrapper."""
        assert self._process is not None, "the node was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_frozen(self) -> bool:
        """Whether the kernel holds every thread of the process stopped (state T)."""
        threads = list(Path(f"/proc/{self.pid}/task").glob("*/stat"))
        states = {thread.read_text().rpartition(")")[2].split()[0] for thread in threads}
        return states == {"T"}

    def url(self, user: str = "guest", password: str = "guest", vhost: str = "/") -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{'' if vhost == '/' else quote(vhost, safe='')}"

    def start(self, *, wait: bool = True) -> None:
        """Start and return when AMQP answers. Raises NodeDied."""
        with (self.folder / "out.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(DEBIAN_BIN / "rabbitmq-server")],
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            self.ready()

    def ready(self) -> None:
        """Return when AMQP answers. Raises NodeDied."""
        deadline = time.monotonic() + START_SECONDS
        while not (listens(self.port) and answers(self.url(), seconds=2.0)):
            if not self.is_running or time.monotonic() > deadline:
                raise NodeDied(f"{self.name} does not answer:\n{(self.folder / 'out.log').read_text()[-1500:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Shut down in order: clients are told, queues are closed. A frozen node thaws first."""
        if not self.is_running:
            return
        self.thaw()
        os.kill(self.pid, signal.SIGTERM)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Kill -9 of the virtual machine, frozen or not; returns when it is gone.

        A quorum queue that was declared less than two seconds ago may be dead after the restart: declaring it
        succeeds, consuming from it never answers (3.10 registers new queues on disk with a delay).
        """
        assert self._process is not None, "the node was not started"
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop the machine without a word: its connections stay open and nothing answers. Raises TimeoutError."""
        os.kill(self.pid, signal.SIGSTOP)
        # The signal is only noted: each of the machine's threads stops when it next runs.
        deadline = time.monotonic() + FREEZE_SECONDS
        while not self.is_frozen:
            if time.monotonic() > deadline:
                self.thaw()
                raise TimeoutError(f"{self.name} does not stop")
            time.sleep(0.01)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Delete the storage of a stopped node: users, queues, messages. It starts again as a new node."""
        assert not self.is_running, "stop or kill the node first"
        shutil.rmtree(self.folder / "mnesia", ignore_errors=True)

    def close(self) -> None:
        if self.is_running:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._own_realm:
            self._own_realm.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ctl(self, *arguments: str, seconds: float = 60.0) -> str:
        """Return what rabbitmqctl prints (one to two seconds). Raises ControlFailed, TimeoutExpired."""
        command = [str(DEBIAN_BIN / "rabbitmqctl"), "--quiet", "-n", self.name, *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=seconds)
        if done.returncode:
            raise ControlFailed(f"{arguments[0]}: {done.stderr or done.stdout}")
        return done.stdout

    def queues(self, *columns: str, vhost: str = "/") -> dict[str, dict[str, Any]]:
        """Return every queue by its name: ready, unacknowledged and all messages, or the columns that are named.

        The numbers of a quorum queue are up to a second old.
        """
        wanted = columns or ("messages_ready", "messages_unacknowledged", "messages")
        rows = json.loads(self.ctl("list_queues", "--vhost", vhost, "--formatter", "json", "name", *wanted))
        return {row.pop("name"): row for row in rows}

    def raise_memory_alarm(self) -> None:
        """Block every connection that publishes, until `clear_alarms`."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "1")

    def raise_disk_alarm(self) -> None:
        """Block every connection that publishes, until `clear_alarms`."""
        self.ctl("set_disk_free_limit", "1000000GB")

    def clear_alarms(self) -> None:
        self.ctl("set_vm_memory_high_watermark", "0.4")
        self.ctl("set_disk_free_limit", "200MB")

    def forbid(self, user: str = "guest", vhost: str = "/") -> None:
        """Take a user's permissions and close its connections (an open channel remembers what it may)."""
        self.ctl("clear_permissions", "--vhost", vhost, user)
        self.ctl("close_all_user_connections", user, "permissions were taken")

    def allow(self, user: str = "guest", vhost: str = "/") -> None:
        self.ctl("set_permissions", "--vhost", vhost, user, ".*", ".*", ".*")

    def delete_queue(self, queue: str, vhost: str = "/") -> None:
        self.ctl("delete_queue", "--vhost", vhost, queue)

    def _environment_of(self, realm: Realm) -> dict[str, str]:
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(realm.folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(realm.names_port),
            # The start script becomes the virtual machine instead of waiting for it: our child is the one to kill.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            # Quorum queues report their numbers every second instead of every five.
            "RABBITMQ_SERVER_START_ARGS": f"{loopback} -rabbit quorum_tick_interval 1000",
            # No busy wait: it matters on two cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+B i +sbwt none +sbwtdcpu none +sbwtdio none",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
        }


def answers(url: str, *, seconds: float = 10.0) -> bool:
    """Whether an AMQP handshake with `url` succeeds (an open port is not enough)."""

    async def handshake() -> bool:
        try:
            async with asyncio.timeout(seconds + 1):
                connection = await aio_pika.connect(url, timeout=seconds)
                await connection.close()
        except Exception:  # noqa: BLE001 (whatever a stranger on that port says, it is no broker for us)
            return False
        return True

    return asyncio.run(handshake())


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
