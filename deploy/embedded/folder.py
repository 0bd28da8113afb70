"""An embedded installation's data folder: whether it is the one that is meant, and what in it nobody else may enter."""

import os
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from deploy.embedded.secrets import DATABASES

# Looked into when nobody names another one (--data, COWORK_DATA). Commands pass this very object on as their default:
# whoever names `var/cowork` passes an equal one, and has chosen it.
DEFAULT_FOLDER = Path("var") / "cowork"
_ADDRESSES = [f"COWORK_{name.upper()}_{role}_URL" for name in DATABASES for role in ("OWNER", "DATABASE")]


class NotConfigured(RuntimeError):
    """Neither an embedded installation nor the environment says where the databases are."""


def find_installation(folder: Path) -> Path | None:
    """Return the folder when the embedded installation in it is meant, None when that of the environment is.

    Flag > environment > file: a folder that somebody has named comes first, then the environment's databases. The folder
    that merely lies below the current one comes last: somebody has only tried the suite out there.
    """
    if not (folder / "secrets.json").exists():
        return None
    return None if folder is DEFAULT_FOLDER and is_environment_configured() else folder


def is_environment_configured() -> bool:
    """Whether the environment, or a file that it names, holds the address of any database."""
    secrets = os.environ.get("COWORK_SECRETS")
    return any(
        os.environ.get(name) or os.environ.get(f"{name}_FILE") or (secrets and Path(secrets, name).is_file())
        for name in _ADDRESSES
    )


def why_not_configured(folder: Path) -> str:
    """Say why what is missing in the environment is needed, for whoever expected the folder to be taken."""
    if not (folder / "secrets.json").exists():
        return f"there is no embedded installation in {folder}"
    return f"the environment names databases, so the installation in {folder} is not taken (--data {folder} takes it)"


def servers_of(addresses: Iterable[str]) -> str:
    """Return host and port of each database server, without who connects and with which password."""
    return ", ".join(sorted({_server_of(address) for address in addresses}))


def _server_of(address: str) -> str:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        # Whatever it is, it may hold a password.
        return "?"
    return f"{url.host or 'localhost'}:{url.port or 5432}"


def make_private(folder: Path) -> Path:
    """Return a folder, made if need be, that only its owner can enter, also where it stood open before."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder
