"""The secrets of an embedded installation: made once, kept in one file that only its owner can read."""

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.events import SERVICES

MODE = 0o600
# What has a database with an owner and an application role of its own.
DATABASES = (*SERVICES, "ledger")


@dataclass(frozen=True, slots=True)
class Secrets:
    """Random per installation. `databases` maps a service, and "ledger", to (owner's, application's) password."""

    databases: dict[str, tuple[str, str]]
    clients: dict[str, str]
    digest_keys: dict[str, str]
    key_secret: str
    ledger_key: str
    operator_secret: str
    demo_password: str

    def client_digests(self) -> dict[str, str]:
        """What identity knows of the services' credentials."""
        return {name: hashlib.sha256(secret.encode()).hexdigest() for name, secret in self.clients.items()}


def load_or_make(folder: Path, *, name: str = "secrets.json") -> Secrets:
    """Return the installation's secrets, made on the first call."""
    path = folder / name
    if path.exists():
        known = json.loads(path.read_text())
        missing = [name for name in DATABASES if name not in known["databases"]]
        known["databases"] = {name: (owner, app) for name, (owner, app) in known["databases"].items()}
        known["databases"] |= {name: _passwords() for name in missing}
        if missing:
            _write(path, Secrets(**known))
        return Secrets(**known)
    folder.mkdir(parents=True, exist_ok=True)
    made = _make()
    _write(path, made)
    return made


def _write(path: Path, made: Secrets) -> None:
    """All or nothing: a half-written file would be the loss of everything that it locks."""
    half = path.with_suffix(".new")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(made), file)
    half.replace(path)


def _passwords() -> tuple[str, str]:
    return secrets.token_urlsafe(24), secrets.token_urlsafe(24)


def _make() -> Secrets:
    return Secrets(
        databases={name: _passwords() for name in DATABASES},
        clients={name: secrets.token_urlsafe(32) for name in SERVICES},
        digest_keys={name: secrets.token_urlsafe(32) for name in SERVICES},
        key_secret=secrets.token_urlsafe(48),
        ledger_key=secrets.token_urlsafe(48),
        operator_secret=secrets.token_urlsafe(32),
        # Meets every rule of the password policy, whatever the random part turns out to be.
        demo_password=f"Demo-{secrets.token_urlsafe(9)}-7!",
    )
