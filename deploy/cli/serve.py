"""`cowork serve|migrate|topology`: one process per service, as compose and Kubernetes run them."""

import asyncio
import functools
import importlib
import signal
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import uvloop
from cyclopts import Parameter
from rich.console import Console

from deploy.cli.config import problems_in
from deploy.cli.settings import read
from deploy.embedded.secrets import DATABASES
from deploy.servers import HttpServer
from deploy.suite import ServiceName, make_service, make_transport, settings_class, subscriptions
from deploy.topology import declare
from shared import logging
from shared.bus.amqp import BROKER_ERRORS
from shared.bus.topology import TopologyMismatch
from shared.bus.wake import Notifier
from shared.migrate import differences, upgrade
from shared.service import Worker
from shared.settings import OwnerSettings, ServiceSettings, SuiteSettings

console = Console(stderr=True, highlight=False)
Role = Literal["api", "worker", "all"]


def serve(
    service: ServiceName,
    *,
    role: Annotated[Role, Parameter(help="the HTTP half, the event and job half, or both")] = "all",
    host: str = "127.0.0.1",
    port: int = 8000,
    internal_port: int = 9000,
) -> int:
    """Serve one service; configuration comes from the environment (`cowork config check` names what is missing)."""
    logging.configure(service)
    settings, problems = read(settings_class(service))
    if settings is None:
        console.print(f"[red]{service} is not configured:[/] {', '.join(problems_in([service]) or problems)}")
        return 2
    if settings.suite.amqp_url is None:
        console.print("[red]COWORK_AMQP_URL is not set:[/] services in separate processes need RabbitMQ")
        return 2
    uvloop.run(_serve(service, settings, role, host, port, internal_port))
    return 0


async def _serve(name: str, settings: ServiceSettings, role: Role, host: str, port: int, internal_port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    service = make_service(name, settings)
    apps = [(service.internal_app(), internal_port)]
    if role != "worker":
        apps.append((service.public_app(), port))
    servers = [HttpServer(app, host=host, port=number) for app, number in apps]
    worker: Worker | None = None
    transport = make_transport(service.settings.suite, {name: service})
    if role == "api":
        service.database.wake_elsewhere = Notifier(service.database).wake
    else:
        worker = service.worker(transport)
    for server in servers:
        await server.start()
    running = asyncio.create_task(worker.run() if worker else stopping.wait())
    await asyncio.wait({running, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    # Graceful: no new requests, then the consumer, its lanes and the relay finish, then the connections close.
    for server in servers:
        await server.stop()
    if worker is not None:
        await worker.stop()
    await running
    await transport.close()
    await service.close()


def migrate(service: ServiceName | None = None, *, check: bool = False) -> int:
    """Bring a service's database, or all and the ledger's, to the newest revision (`--check`: only say whether they are)."""
    return migrate_databases([service] if service else DATABASES, check=check)


def migrate_databases(names: Sequence[str], *, check: bool) -> int:
    """Migrate services' databases and the "ledger"'s, or compare them; return the exit code."""
    addresses, missing = {}, []
    for name in names:
        owner, found = read(functools.partial(OwnerSettings.of, name), prefix=f"COWORK_{name.upper()}_")
        missing += found
        if owner is not None:
            addresses[name] = owner.owner_url.get_secret_value()
    if missing:
        console.print(f"[red]not configured:[/] {', '.join(missing)}")
        return 2
    return uvloop.run((_compare if check else _upgrade)(addresses))


async def _upgrade(addresses: Mapping[str, str]) -> int:
    for name, owner_url in addresses.items():
        is_ours = await (_ledger().upgrade_ledger(owner_url) if name == "ledger" else upgrade(name, owner_url))
        console.print(f"{name}: {'migrated' if is_ours else 'a newer version has migrated it, left alone'}")
    return 0


async def _compare(addresses: Mapping[str, str]) -> int:
    code = 0
    for name, owner_url in addresses.items():
        different = await (
            _ledger().ledger_differences(owner_url) if name == "ledger" else differences(name, owner_url)
        )
        console.print(f"{name}: {'current' if not different else f'{len(different)} differences'}")
        code = 1 if different else code
    return code


def _ledger() -> Any:
    """Only the images of privacy and of the operator hold the ledger."""
    return importlib.import_module("services.privacy.ledger.database")


def topology() -> int:
    """Declare every queue and binding in RabbitMQ; repeatable."""
    suite, problems = read(SuiteSettings)
    if suite is None:
        console.print(f"[red]not configured:[/] {', '.join(problems)}")
        return 2
    if suite.amqp_url is None:
        console.print("[red]not set:[/] COWORK_AMQP_URL")
        return 2
    try:
        uvloop.run(declare(suite.amqp_url.get_secret_value(), namespace=suite.namespace, subscriptions=subscriptions()))
    except TopologyMismatch as error:
        console.print(
            f"[red]{error} exists with other arguments:[/] delete it and run this again; what was in it is in the logs of"
            " who published it (cowork outbox redrive)"
        )
        return 1
    except BROKER_ERRORS as error:
        console.print(f"[red]RabbitMQ does not let us declare:[/] {type(error).__name__}")
        return 1
    console.print("declared")
    return 0
