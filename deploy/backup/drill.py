"""A restore drill: the backup restored on a PostgreSQL of its own, the live ledger replayed, and everything thrown away."""

import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from deploy.backup.places import LEDGER, Place
from deploy.embedded.account import PostgresError, unprivileged
from deploy.embedded.folder import make_private
from deploy.embedded.postgres import EmbeddedPostgres, find_binaries
from deploy.embedded.provision import Names, provision
from shared.events import SERVICES


@asynccontextmanager
async def scratch_place(live: Place) -> AsyncIterator[Place]:
    """Yield an empty place beside a live one: its own databases and files, the live one's ledger and key, no broker.

    Raises PostgresError where no server can be started.
    """
    _refuse_without_server()
    folder = _make_folder()
    postgres = EmbeddedPostgres(folder / "postgres", durable=False)
    passwords = {name: (secrets.token_urlsafe(24), secrets.token_urlsafe(24)) for name in SERVICES}
    try:
        await postgres.start()
        await provision(postgres.admin_url, passwords)
        owners = {name: Names.of(name).address(passwords[name], postgres.port, owner=True) for name in SERVICES}
        owners[LEDGER] = live.owners[LEDGER]
        files = make_private(folder / "files")
        yield replace(live, owners=owners, files_url=files.as_uri(), amqp_url=None, folder=None)
    finally:
        await postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(postgres.folder, ignore_errors=True)


def _refuse_without_server() -> None:
    """The operator's image has PostgreSQL's client programs only, and its user has no name, which `initdb` asks for."""
    try:
        find_binaries()
        pwd.getpwuid(os.geteuid())
    except (PostgresError, KeyError) as error:
        raise PostgresError(
            "a drill starts a PostgreSQL of its own, and here are no server programs, or no user to run them: run"
            " `cowork drill` where both are and the installation's databases can be reached, as the README says"
        ) from error


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cowork-drill-"))
    if unprivileged() is not None:
        # PostgreSQL's user has to pass; what it makes inside is its own, and the files are ours.
        folder.chmod(0o711)
    return folder
