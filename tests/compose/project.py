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
from pathlib import Path
from typing import Any

from shared.events import SERVICES
from shared.migrate import ROOT
from tests.compose.engine import Engine
from tests.support.ports import free_port

# What an operator's clone has, without what this one's tests have left.
PARTS = ("services", "shared", "deploy", "requirements", "cowork", "Makefile")
PROFILES = ("--profile", "demo", "--profile", "operator")
WAIT_SECONDS = 240


class Project:
    """`init()`, `up()` … `down()`; `folder` is the copy, `url` the gateway."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
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
        self.port, self.mailbox_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> Path:
        return self.folder / "deploy" / "compose" / "secrets"

    def cowork(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command of the copy on this machine."""
        command = [sys.executable, "-m", "deploy.cli", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run docker compose; what it says is in the result. Raises CalledProcessError."""
        file = self.folder / "deploy" / "compose" / "compose.yaml"
        command = [str(Path(sys.executable).parent / "docker-compose"), "-p", self.name, "-f", str(file), *PROFILES]
        environment = {
            **self.engine.environment,
            "COWORK_BUILD_NETWORK": "host",
            "COWORK_LISTEN": f"127.0.0.1:{self.port}",
            "COWORK_MAILBOX_LISTEN": f"127.0.0.1:{self.mailbox_port}",
            "COMPOSE_PROGRESS": "plain",
        }
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, check=False, cwd=self.folder
        )
        if check and done.returncode != 0:
            raise RuntimeError(
                f"compose {' '.join(arguments)}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
            )
        return done

    def operator(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a one-off command of `cowork` inside the operator's container."""
        return self.compose("run", "--rm", "--no-deps", "-T", "operator", *arguments, check=False)

    def container(self, service: str) -> dict[str, Any]:
        """Return what the engine says about a service's container."""
        identity = self.compose("ps", "-a", "-q", service).stdout.split()[0]
        found: dict[str, Any] = json.loads(self.engine.docker("inspect", identity))[0]
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
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
        shutil.rmtree(self.folder, ignore_errors=True)
