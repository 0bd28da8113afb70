"""A copy of this checkout, initialised and driven through docker compose as an operator would."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.events import SERVICES
from shared.migrate import ROOT
from tests.compose.engine import Engine
from tests.support.ports import free_port

# What an operator's clone has, without what this one's tests have left.
PARTS = ("services", "shared", "deploy", "requirements", "cowork", "Makefile", ".dockerignore")
FILES = ("compose.yaml",)
TLS_FILES = ("compose.yaml", "compose.tls.yaml")
WAIT_SECONDS = 240


class Project:
    """`init()`, `up()` … `down()`; `folder` is the copy, `url` the gateway."""

    def __init__(self, engine: Engine, *, rabbitmq: str | None = None) -> None:
        """`rabbitmq` is an image to use in the place of the one that compose.yaml names."""
        self.engine = engine
        self._images = {"COWORK_RABBITMQ": rabbitmq} if rabbitmq else {}
        self.folder = Path(tempfile.mkdtemp(prefix="cowork-compose-"))
        self.folder.chmod(0o755)
        for part in PARTS:
            source = ROOT / part
            without = shutil.ignore_patterns("__pycache__", "secrets", ".env")
            if source.is_dir():
                shutil.copytree(source, self.folder / part, ignore=without)
            else:
                shutil.copy(source, self.folder / part)
        self.name = f"cowork-{secrets.token_hex(3)}"
        self.port, self.mailbox_port, self.tls_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> Path:
        return self.folder / "deploy" / "compose" / "secrets"

    def cowork(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command of the copy on this machine."""
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker compose; what it says is in the result. Raises RuntimeError when it fails."""
        return self._compose(FILES, arguments, check=check)

    def last_words(self) -> str:
        """Return the last lines of every container that is not well, for whoever asks why."""
        listed = self.compose("ps", "--all", "--format", "json", check=False).stdout.splitlines()
        found = [json.loads(line) for line in listed]
        ill = [one["Service"] for one in found if one["Health"] not in ("", "healthy") or one["ExitCode"]]
        return self.compose("logs", "--no-color", "--tail", "20", *ill, check=False).stdout if ill else ""

    def with_tls(self, *arguments: str) -> None:
        """Run docker compose with the TLS overlay. Raises RuntimeError when it fails."""
        self._compose(TLS_FILES, arguments, check=True)

    def _compose(
        self, files: Sequence[str], arguments: Sequence[str], *, check: bool
    ) -> subprocess.CompletedProcess[str]:
        folder = self.folder / "deploy" / "compose"
        command = [str(Path(sys.executable).parent / "docker-compose"), "-p", self.name, "--profile", "demo"]
        command += [option for file in files for option in ("-f", str(folder / file))]
        environment = {
            **self.engine.environment,
            **self._images,
            "COWORK_BUILD_NETWORK": "host",
            # One after the other, the images share what they have in common also where the builder is an old one.
            "COMPOSE_PARALLEL_LIMIT": "1",
            "COWORK_LISTEN": f"127.0.0.1:{self.port}",
            "COWORK_MAILBOX_LISTEN": f"127.0.0.1:{self.mailbox_port}",
            "COWORK_HTTPS_LISTEN": f"127.0.0.1:{self.tls_port}",
            "COWORK_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "COWORK_DOMAIN": "localhost",
            "COWORK_TLS": "tls internal",
        }
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, check=False, cwd=self.folder
        )
        if check and done.returncode != 0:
            said = f"{done.stdout[-3000:]}{done.stderr[-5000:]}"
            raise RuntimeError(f"compose {' '.join(arguments)}: exit {done.returncode}\n{said}")
        return done

    def operator(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a one-off command of `cowork` inside the operator's container."""
        return self.compose(
            "--profile", "operator", "run", "--rm", "--no-deps", "-T", "operator", *arguments, check=False
        )

    def container(self, service: str) -> dict[str, Any]:
        """Return what the engine says about a service's container."""
        of = "label=com.docker.compose"
        filters = (f"--filter={of}.project={self.name}", f"--filter={of}.service={service}")
        identity = self.engine.docker("ps", "-aq", *filters).split()[0]
        found: dict[str, Any] = json.loads(self.engine.docker("inspect", identity))[0]
        return found

    def declared(self) -> dict[str, Any]:
        """Return every service of the compose files as compose reads them, whatever its profile."""
        everything = ("--profile", "*", "config", "--format", "json")
        found: dict[str, Any] = json.loads(self._compose(TLS_FILES, everything, check=True).stdout)["services"]
        return found

    def services(self) -> list[str]:
        return self.compose("ps", "-a", "--services").stdout.split()

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *command, check=False)

    def kill(self, service: str) -> None:
        """kill -9 of a container's first process, as the kernel would do it when memory runs out."""
        os.kill(int(self.container(service)["State"]["Pid"]), signal.SIGKILL)

    def wait_until_healthy(self, *names: str) -> None:
        """Raises TimeoutError, with the last words of the one that is not."""
        deadline = time.monotonic() + WAIT_SECONDS
        for name in names or [f"{service}-{role}" for service in SERVICES for role in ("api", "worker")]:
            while self.container(name)["State"].get("Health", {}).get("Status") != "healthy":
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{name} is not healthy:\n{self.compose('logs', '--tail', '20', name).stdout}")
                time.sleep(1)

    def down(self) -> None:
        arguments = ("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20")
        self._compose(TLS_FILES, arguments, check=True)
        shutil.rmtree(self.folder, ignore_errors=True)
