"""The secret files of an installation in separate processes: `cowork init` makes them once, one folder per container.

Everything is derived from one file, `installation.json`; a second call makes what is missing and changes nothing else.
A container is given its own folder only (COWORK_SECRETS), so that no service ever sees another one's secrets.
"""

import base64
import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.embedded.provision import Names
from deploy.embedded.secrets import Secrets, load_or_make
from shared.events import SERVICES

VHOST = "cowork"
OPERATOR = "operator"
# Containers run as users of their own: what protects the files on the host is the folder around them.
OUTER, INNER, FILE = 0o700, 0o755, 0o444

ENV = """\
# Settings of docker compose; secrets are in files below secrets/. After a change: docker compose up -d --wait
# Where members reach the suite: links in mails begin with it.
COWORK_PUBLIC_URL=http://127.0.0.1:8080
# Where the gateway listens. Behind a proxy that ends TLS on this machine, leave it, and name the proxy's network in
# deploy/gateway/trusted/proxies.conf (`set_real_ip_from 172.16.0.0/12;`): until then all members have one address, the
# proxy's, and share the limits of one.
COWORK_LISTEN=127.0.0.1:8080
# Your mail server. `mailbox` is the demo's mail catcher, which sends nothing on and speaks no TLS.
COWORK_SMTP_HOST=mailbox
COWORK_SMTP_PORT=1025
COWORK_SMTP_STARTTLS=false
COWORK_MAIL_FROM=cowork@localhost
"""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the containers find PostgreSQL and RabbitMQ (host:port), and the passwords of their administrators."""

    postgres: str
    rabbitmq: str
    postgres_password: str
    broker_passwords: dict[str, str]
    grafana_password: str


def write_installation(folder: Path, *, postgres: str | None = None, rabbitmq: str | None = None) -> list[str]:
    """Make or complete an installation's secret files; return the names of the files that were written.

    Addresses (host:port) that are not given stay what they were; at first they are those of compose.yaml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(OUTER)
    made = load_or_make(folder, name="installation.json")
    servers = _servers(folder / "servers.json", postgres, rabbitmq)
    contents = _contents(made, servers)
    return [name for name, content in contents.items() if _write(folder / name, content)]


def write_env(path: Path) -> bool:
    """Write the settings of docker compose with their explanations, unless there are some; True when written."""
    if path.exists():
        return False
    path.write_text(ENV)
    return True


def _servers(path: Path, postgres: str | None, rabbitmq: str | None) -> Servers:
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    users = [*SERVICES, OPERATOR]
    made = Servers(
        postgres=postgres or known.get("postgres") or "postgres:5432",
        rabbitmq=rabbitmq or known.get("rabbitmq") or "rabbitmq:5672",
        postgres_password=known.get("postgres_password") or secrets.token_urlsafe(32),
        broker_passwords={**{name: secrets.token_urlsafe(32) for name in users}, **known.get("broker_passwords", {})},
        grafana_password=known.get("grafana_password") or secrets.token_urlsafe(24),
    )
    if asdict(made) != known:
        # All or nothing: half a file would be the loss of every password in it.
        half = path.with_suffix(".new")
        half.unlink(missing_ok=True)
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(made), file)
        half.replace(path)
    return made


def _contents(made: Secrets, servers: Servers) -> dict[str, str]:
    """Return every file by its name."""
    files: dict[str, str] = {}
    everything: dict[str, str] = {}
    for service in SERVICES:
        own, owner = _of_service(service, made, servers)
        everything |= own | owner
        files |= {f"{service}/{name}": value for name, value in own.items()}
        files[f"{service}/COWORK_AMQP_URL"] = _amqp_url(service, servers)
        files |= {f"{service}-owner/{name}": value for name, value in owner.items()}
    ledger = Names.of("ledger")
    ledger_owner = _database_url(ledger.owner, made.databases["ledger"][0], servers.postgres, ledger.database)
    everything["COWORK_LEDGER_OWNER_URL"] = files["ledger-owner/COWORK_LEDGER_OWNER_URL"] = ledger_owner
    everything["COWORK_AMQP_URL"] = _amqp_url(OPERATOR, servers)
    management = f"http://{OPERATOR}:{servers.broker_passwords[OPERATOR]}@{servers.rabbitmq.split(':')[0]}:15672"
    everything["COWORK_RABBITMQ_MANAGEMENT_URL"] = management
    everything["COWORK_ADMIN_URL"] = f"postgresql://postgres:{servers.postgres_password}@{servers.postgres}/postgres"
    everything["COWORK_DATABASES"] = json.dumps(made.databases)
    everything["COWORK_DEMO_PASSWORD"] = made.demo_password
    files |= {f"{OPERATOR}/{name}": value for name, value in everything.items()}
    files |= {f"provision/{name}": everything[name] for name in ("COWORK_ADMIN_URL", "COWORK_DATABASES")}
    files["topology/COWORK_AMQP_URL"] = everything["COWORK_AMQP_URL"]
    opening = ("COWORK_DEMO_PASSWORD", "COWORK_IDENTITY_OPERATOR_SECRET")
    files |= {f"demo/{name}": everything[name] for name in opening}
    files["postgres/password"] = servers.postgres_password
    files["grafana/password"] = servers.grafana_password
    files["rabbitmq/definitions.json"] = json.dumps(_definitions(servers), indent=1)
    return files


def _of_service(service: str, made: Secrets, servers: Servers) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files of a service's processes, and those of its migration."""
    names, prefix = Names.of(service), f"COWORK_{service.upper()}_"
    owner_password, app_password = made.databases[service]
    own = {
        f"{prefix}DATABASE_URL": _database_url(names.app, app_password, servers.postgres, names.database),
        f"{prefix}CLIENT_SECRET": made.clients[service],
        f"{prefix}DIGEST_KEY": made.digest_keys[service],
    }
    if service == "identity":
        own[f"{prefix}KEY_SECRET"] = made.key_secret
        own[f"{prefix}OPERATOR_SECRET"] = made.operator_secret
        own[f"{prefix}CLIENT_DIGESTS"] = json.dumps(made.client_digests())
    if service == "privacy":
        own[f"{prefix}LEDGER_KEY"] = made.ledger_key
        ledger = Names.of("ledger")
        own[f"{prefix}LEDGER_URL"] = _database_url(
            ledger.app, made.databases["ledger"][1], servers.postgres, ledger.database
        )
    return own, {f"{prefix}OWNER_URL": _database_url(names.owner, owner_password, servers.postgres, names.database)}


def _database_url(role: str, password: str, server: str, database: str) -> str:
    return f"postgresql+asyncpg://{role}:{password}@{server}/{database}"


def _amqp_url(user: str, servers: Servers) -> str:
    return f"amqp://{user}:{servers.broker_passwords[user]}@{servers.rabbitmq}/{VHOST}"


def _definitions(servers: Servers) -> dict[str, Any]:
    """What RabbitMQ loads at its start: one user per service with least rights, and no default user.

    A service consumes its own two queues and publishes its own events (topic permissions are asked for the routing key).
    It declares and binds nothing: the topology job does, as the operator.
    """
    users = [_user(name, password) for name, password in servers.broker_passwords.items()]
    permissions = [{"user": OPERATOR, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}]
    topics = [{"user": OPERATOR, "vhost": VHOST, "exchange": "cowork.events", "write": ".*", "read": ".*"}]
    for service in SERVICES:
        rights = {"configure": "^$", "write": r"^cowork\.events$", "read": rf"^cowork\.{service}\.(in|dead)$"}
        permissions.append({"user": service, "vhost": VHOST, **rights})
        topic = {"write": rf"^{service}\.", "read": "^$"}
        topics.append({"user": service, "vhost": VHOST, "exchange": "cowork.events", **topic})
    return {
        "users": users,
        "vhosts": [{"name": VHOST}],
        "permissions": permissions,
        "topic_permissions": topics,
    }


def _user(name: str, password: str) -> dict[str, Any]:
    """Salted as RabbitMQ's `rabbit_password_hashing_sha256` expects it; the salt is derived, so that the file is stable."""
    salt = hashlib.sha256(f"{name}:{password}".encode()).digest()[:4]
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    tags = ["monitoring"] if name == OPERATOR else []
    return {
        "name": name,
        "password_hash": digest,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
    }


def _write(path: Path, content: str) -> bool:
    """Write a file unless it says so already."""
    if path.exists() and path.read_text() == content:
        return False
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(INNER)
    # Put in place whole: a container that starts meanwhile reads the old file or the new one.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.write_text(content)
    fresh.chmod(FILE)
    fresh.replace(path)
    return True
