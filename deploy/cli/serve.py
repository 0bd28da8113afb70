"""`cowork serve|migrate|topology`: one process per service, as compose and Kubernetes run them."""

import asyncio
import signal
from typing import Annotated, Literal

import uvloop
from cyclopts import Parameter
from pydantic import ValidationError
from rich.console import Console

from deploy.servers import HttpServer
from deploy.suite import make_service, make_transport, settings_class, subscriptions
from shared import logging
from shared.bus.amqp import declare
from shared.bus.wake import Notifier
from shared.events import SERVICES
from shared.migrate import differences, upgrade
from shared.service import Worker
from shared.settings import OwnerSettings, SuiteSettings

console = Console(stderr=True, highlight=False)
Role = Literal["api", "worker", "all"]
Name = Literal["identity", "booking", "billing", "feed", "helpdesk", "notify", "privacy"]


def serve(
    service: Name,
    *,
    role: Annotated[Role, Parameter(help="the HTTP half, the event and job half, or both")] = "all",
    host: str = "127.0.0.1",
    port: int = 8000,
    internal_port: int = 9000,
) -> int:
    """Serve one service; configuration comes from the environment (`cowork config check` names what is missing)."""
    logging.configure(service)
    try:
        settings = settings_class(service)()
    except ValidationError as error:
        console.print(f"[red]{service} is not configured:[/] " + ", ".join(str(e["loc"][0]) for e in error.errors()))
        return 2
    if settings.suite.amqp_url is None:
        console.print("[red]COWORK_AMQP_URL is not set:[/] services in separate processes need RabbitMQ")
        return 2
    uvloop.run(_serve(service, settings, role, host, port, internal_port))
    return 0


async def _serve(name: str, settings: object, role: Role, host: str, port: int, internal_port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    service = make_service(name, settings)  # type: ignore[arg-type]
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


def migrate(service: Name | None = None, *, check: bool = False) -> int:
    """Bring databases to the newest revision (`--check`: only say whether they are)."""
    return uvloop.run(_migrate([service] if service else list(SERVICES), check=check))


async def _migrate(names: list[str], *, check: bool) -> int:
    code = 0
    for name in names:
        owner_url = OwnerSettings.of(name).owner_url.get_secret_value()
        if check:
            different = await differences(name, owner_url)
            console.print(f"{name}: {'current' if not different else f'{len(different)} differences'}")
            code = code or (1 if different else 0)
            continue
        await upgrade(name, owner_url)
        console.print(f"{name}: migrated")
    return code


def topology() -> int:
    """Declare every queue and binding in RabbitMQ; repeatable."""
    suite = SuiteSettings()
    if suite.amqp_url is None:
        console.print("[red]COWORK_AMQP_URL is not set[/]")
        return 2
    uvloop.run(declare(suite.amqp_url.get_secret_value(), namespace=suite.namespace, subscriptions=subscriptions()))
    console.print("declared")
    return 0
