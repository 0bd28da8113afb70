"""Secrets: long enough, made by chance, no two alike, readable by nobody else. Values never leave this file."""

import hashlib
import hmac
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import ParseResult, unquote, urlparse

from pydantic import SecretStr
from sqlalchemy import make_url

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok
from deploy.doctor.settings import LOOPBACK
from deploy.doctor.site import NotChecked, Site
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.secrets import MODE
from services.identity.settings import Settings as IdentitySettings

# Characters below which a secret can be guessed; what keys a digest or seals needs 256 bits.
KEY_LENGTH, PASSWORD_LENGTH = 32, 16
# Random text of 32 characters has more different ones than this, but for one time in a million.
FEWEST_DIFFERENT = 8
WORDS = re.compile(
    r"change.?(me|this)|password|passwort|mot.?de.?passe|secret|default|example|letmein|guest|admin|qwerty|azerty"
    r"|0123456|1234567|abcdefg|placeholder|your[-_ ]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret by the variable that holds it, with the service whose it is."""

    variable: str
    service: str
    value: str
    least: int


@of_suite("secrets")
async def check_secrets(site: Site) -> list[Finding]:
    """Each secret is strong and used in one place, and identity knows every service's credential."""
    secrets = list(secrets_of(site))
    if not secrets:
        raise NotChecked("unconfigured")
    found = [finding for secret in secrets for finding in _strength(secret)]
    found += [*_repeated(secrets), *_unknown_clients(site)]
    return found or [ok(count=len(secrets))]


@of_suite("secret_files")
async def check_secret_files(site: Site) -> list[Finding]:
    """No other user of this machine can read a secret file. Read-only mounts are their orchestrator's business."""
    files = list(secret_files(site))
    found = [
        failed("exposed", path=str(path), mode=f"{stat.S_IMODE(path.stat().st_mode):04o}") for path in exposed(site)
    ]
    return found or [ok(count=len(files))]


def secrets_of(site: Site) -> Iterator[Secret]:
    """Yield the secrets of every service that is configured, the passwords inside addresses included."""
    for service, settings in site.services.items():
        prefix = f"COWORK_{service.upper()}_"
        for name, value in settings:
            if not isinstance(value, SecretStr) or name == "smtp_password":
                continue
            plain = value.get_secret_value()
            if name.endswith("_url"):
                yield Secret(f"{prefix}{name.upper()}", service, _password(plain), PASSWORD_LENGTH)
            else:
                least = KEY_LENGTH if name.endswith("_key") or name == "key_secret" else PASSWORD_LENGTH
                yield Secret(f"{prefix}{name.upper()}", service, plain, least)
    for service, url in site.owners.items():
        yield Secret(f"COWORK_{service.upper()}_OWNER_URL", service, _password(url), PASSWORD_LENGTH)
    for address in _brokers(site):
        # On loopback, RabbitMQ's own guest is enough.
        if address.hostname not in LOOPBACK:
            yield Secret("COWORK_AMQP_URL", "", unquote(address.password or ""), PASSWORD_LENGTH)


def secret_files(site: Site) -> Iterator[Path]:
    """Yield the files that secrets are read from."""
    if site.folder is not None:
        yield site.folder / "secrets.json"
        yield from EmbeddedPostgres(site.folder / "postgres").folder.glob("password")
        return
    for name, value in os.environ.items():
        if name.startswith("COWORK_") and name.endswith("_FILE") and value:
            yield Path(value)
    if folder := os.environ.get("COWORK_SECRETS"):
        yield from sorted(Path(folder).glob("COWORK_*"))


def exposed(site: Site) -> list[Path]:
    """Return the secret files that another user could read: an embedded installation's to the letter, others by their way."""
    if site.folder is not None:
        return [path for path in secret_files(site) if stat.S_IMODE(path.stat().st_mode) & ~MODE]
    return [path for path in secret_files(site) if path.is_file() and _is_open(path)]


def _is_open(path: Path) -> bool:
    """Whether others may read a file and walk to it. On a read-only mount nobody here has chosen its mode."""
    if os.statvfs(path).f_flag & os.ST_RDONLY or not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _strength(secret: Secret) -> Iterator[Finding]:
    about, value = secret.service, secret.value
    if len(value) < secret.least:
        yield failed("short", about=about, variable=secret.variable, least=secret.least)
    elif _is_repeated(value):
        yield failed("repeated", about=about, variable=secret.variable)
    elif WORDS.search(value):
        yield failed("wordlike", about=about, variable=secret.variable)


def _is_repeated(value: str) -> bool:
    # A text that repeats itself is found inside its double before the end.
    return len(Counter(value)) < FEWEST_DIFFERENT or (value + value).find(value, 1) < len(value)


def _repeated(secrets: list[Secret]) -> Iterator[Finding]:
    by_value: dict[str, list[str]] = defaultdict(list)
    for secret in secrets:
        if secret.value and secret.variable not in by_value[secret.value]:
            by_value[secret.value].append(secret.variable)
    for variables in by_value.values():
        if len(variables) > 1:
            yield failed("equal", variables=variables, variable=variables[1])


def _unknown_clients(site: Site) -> Iterator[Finding]:
    """Without its digest at identity, a service gets no token."""
    identity = site.services.get("identity")
    if not isinstance(identity, IdentitySettings):
        return
    for service, settings in site.services.items():
        digest = hashlib.sha256(settings.client_secret.get_secret_value().encode()).hexdigest()
        known = identity.client_digests.get(service, "").lower()
        if not hmac.compare_digest(known.encode(), digest.encode()):
            yield failed("client_unknown", about=service)


def _brokers(site: Site) -> list[ParseResult]:
    """Return the addresses of the cluster's nodes."""
    url = site.suite.amqp_url if site.suite else None
    return [urlparse(address) for address in url.get_secret_value().split(",")] if url else []


def _password(address: str) -> str:
    return make_url(address).password or ""
