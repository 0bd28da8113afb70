"""The Docker Engine that the compose test runs on: the machine's own, or a private one from Debian's packages.

Where no image can be pulled, stand-ins for the base images are built from Debian: they show that our files build and run
together, and say nothing about the official images.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.debian import install_debian, may_install

STANDINS = Path(__file__).parent / "standins"
FOLDER = Path("/var/tmp/cowork-engine")
START_SECONDS = 60
PULL_SECONDS = 120
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PYTHON = "python:3.13-slim-trixie"
# Base images that compose.yaml and the Dockerfile name, and the folder of each one's stand-in.
BASES = {
    "postgres:17-trixie": "postgres",
    "rabbitmq:4-management": "rabbitmq",
    "nginx:1-trixie": "nginx",
    "prom/prometheus:v3.5.0": "prometheus",
    "caddy:2": "caddy",
}
OLD_BASE, OLD_RABBITMQ = "cowork-standin:bookworm", "cowork-standin-rabbitmq:3.10"
# Nothing of the machine's network is changed: no rules, no forwarding, addresses of its own.
PRIVATE = (
    "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
    "--bip=172.28.0.1/24", "--default-address-pool=base=172.29.0.0/16,size=24", "--log-level=warn",
)  # fmt: skip


class EngineError(RuntimeError):
    """No Docker Engine, and none can be made here; the message says what to install."""


class Engine:
    """`start()` … `stop()`; `environment` is what `docker` and compose need to find it."""

    def __init__(self) -> None:
        self.environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._docker = "docker"

    def start(self) -> None:
        """Use the engine that answers, else start a private one. Raises EngineError."""
        if shutil.which("docker") and self._answers():
            return
        if not may_install():
            raise EngineError("no Docker Engine answers: install one, or run this as root on Debian")
        if not shutil.which("dockerd"):
            install_debian("docker.io", "containerd", "runc")
        # Debian's own client: another one on the PATH may want a plugin to build.
        self._docker = "/usr/bin/docker"
        self.environment["DOCKER_HOST"] = f"unix://{FOLDER}/docker.sock"
        if not self._answers():
            self._launch()

    def stop(self) -> None:
        """End the engine if it is ours; its images stay for the next time."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(timeout=60)
            subprocess.run(["ip", "link", "del", "docker0"], check=False, stderr=subprocess.DEVNULL)

    def docker(self, *arguments: str, check: bool = True, quiet: bool = False) -> str:
        """Run the client and return what it prints. Raises CalledProcessError."""
        done = subprocess.run(
            [self._docker, *arguments],
            env=self.environment,
            check=check,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
        )
        return done.stdout

    def prepare_bases(self) -> dict[str, str]:
        """Make every base image available; return for each one whether it was pulled or is a stand-in."""
        found = {}
        for image in (PYTHON, *BASES):
            if self.has_image(image):
                found[image] = "present"
            elif self._pull(image):
                found[image] = "pulled"
            else:
                self._stand_in(image)
                found[image] = "stand-in from Debian"
        return found

    def has_image(self, image: str) -> bool:
        return bool(self.docker("images", "-q", image).strip())

    def _pull(self, image: str) -> bool:
        try:
            command = [self._docker, "pull", "--quiet", image]
            subprocess.run(command, env=self.environment, check=True, timeout=PULL_SECONDS, capture_output=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        return True

    def prepare_old_rabbitmq(self) -> str:
        """Make a stand-in of the oldest RabbitMQ that has to work, 3.10 of Debian bookworm; return its name."""
        if not self.has_image(OLD_RABBITMQ):
            if not self.has_image(OLD_BASE):
                self._import_debian(OLD_BASE, "bookworm")
            context = str(STANDINS / "rabbitmq")
            base = f"--build-arg=BASE={OLD_BASE}"
            self.docker("build", "--quiet", "--network=host", base, "-t", OLD_RABBITMQ, context)
        return OLD_RABBITMQ

    def _stand_in(self, image: str) -> None:
        if not self.has_image(PYTHON):
            self._import_debian(PYTHON, "trixie")
        if image in BASES:
            context = STANDINS / BASES[image]
            self.docker("build", "--quiet", "--network=host", f"--build-arg=BASE={PYTHON}", "-t", image, str(context))

    def _import_debian(self, tag: str, release: str) -> None:
        """Bootstrap a small Debian with Python and make an image of it."""
        if not may_install():
            raise EngineError(f"{tag} cannot be pulled, and a stand-in is built as root on Debian only")
        install_debian("debootstrap")
        root = FOLDER / release
        mirror = os.environ.get("COWORK_DEBIAN_MIRROR") or _mirror()
        packages = "ca-certificates,python3,python3-venv,python3-pip,curl"
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", release, str(root), mirror]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (root / "usr/bin/python").symlink_to("python3")
        (root / "etc/apt/sources.list").write_text(f"deb {mirror} {release} main\n")
        if CERTIFICATES.exists():
            # Behind a proxy of one's own, its certificate counts inside, too.
            shutil.copy(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")
        changes = ("ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore",)
        self._import(root, tag, changes)
        shutil.rmtree(root)

    def _import(self, root: Path, tag: str, changes: Sequence[str]) -> None:
        options = [option for change in changes for option in ("--change", change)]
        packed = subprocess.Popen(
            ["tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "-c", "."], stdout=subprocess.PIPE
        )
        command = [self._docker, "import", *options, "-", tag]
        subprocess.run(command, env=self.environment, stdin=packed.stdout, check=True, stdout=subprocess.DEVNULL)
        if packed.wait() != 0:
            raise EngineError(f"packing {root} failed")

    def _answers(self) -> bool:
        command = [self._docker, "info", "--format", "{{.ServerVersion}}"]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def _launch(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [
            "dockerd", f"--data-root={FOLDER}/data", f"--exec-root={FOLDER}/run", f"--pidfile={FOLDER}/docker.pid",
            f"--host={self.environment['DOCKER_HOST']}", *PRIVATE,
        ]  # fmt: skip
        with (FOLDER / "dockerd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd does not start: see {FOLDER}/dockerd.log")
            time.sleep(0.2)


def _mirror() -> str:
    """Return the mirror that this machine's own packages come from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)"]
    sites = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    mirror = next((site for site in sites if "security" not in site), None)
    if mirror is None:
        raise EngineError("set COWORK_DEBIAN_MIRROR to the address of a Debian mirror")
    return mirror
