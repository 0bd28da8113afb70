"""`cowork demo` and `cowork mailbox`: a seeded space, and a mail catcher that reads what it is sent."""

import asyncio
import signal
from collections.abc import Callable
from typing import Annotated

import aiohttp
import uvloop
from cyclopts import Parameter
from pydantic import Field, SecretStr
from rich.console import Console
from rich.markup import escape

from deploy.cli.settings import read
from deploy.demo.client import Client, MailboxClient, Refused
from deploy.demo.seed import ADMIN, SLUG, SpaceTaken, seed_demo
from deploy.servers import HttpServer
from shared.settings import FileSettings

console = Console(stderr=True, highlight=False)


class DemoSettings(FileSettings):
    """What the demo needs to know (prefix COWORK_)."""

    demo_password: SecretStr = Field(description="password of every account of the demo space")
    identity_operator_secret: SecretStr = Field(description="credential that may open a tenant")


async def seed(make_client: Callable[[aiohttp.ClientSession], Client], *, password: str, operator_secret: str) -> None:
    """Make the demo space, or what it lacks, and show the progress. Raises Refused."""
    console.print("making the demo space, or what it lacks…")
    with console.status("") as status:

        def say(what: str, done: int, total: int) -> None:
            status.update(f"{what}: {done} of {total}")

        await seed_demo(make_client, password=password, operator_secret=operator_secret, say=say)


def demo(
    *,
    url: Annotated[str, Parameter(help="where the gateway answers")] = "http://127.0.0.1:8080",
    mailbox: Annotated[str, Parameter(help="where `cowork mailbox` shows its mails")] = "http://127.0.0.1:8025",
) -> int:
    """Seed the demo space through the gateway of services in separate processes; a second call makes what is missing."""
    settings, problems = read(DemoSettings)
    if settings is None:
        console.print(f"[red]not configured:[/] {', '.join(problems)}")
        return 2
    try:
        uvloop.run(
            seed(
                lambda session: MailboxClient(url, session, slug=SLUG, mailbox_url=mailbox),
                password=settings.demo_password.get_secret_value(),
                operator_secret=settings.identity_operator_secret.get_secret_value(),
            )
        )
    except SpaceTaken as error:
        console.print(f"left alone: {error}", markup=False)
        return 0
    except Refused as error:
        say_incomplete(error)
        return 1
    except aiohttp.ClientError as error:
        console.print(f"[red]nothing answers at {url}:[/] {type(error).__name__}")
        return 1
    console.print(f"space {SLUG}, administrator {ADMIN}; the password is in the secret file COWORK_DEMO_PASSWORD")
    return 0


def say_incomplete(error: Exception) -> None:
    """Say what has kept the demo space from being complete; another call goes on where this one has stopped."""
    console.print("[red]the demo space is not complete:[/]", escape(str(error) or type(error).__name__), soft_wrap=True)


def mailbox(*, host: str = "127.0.0.1", smtp_port: int = 1025, port: int = 8025) -> int:
    """Catch every mail instead of sending it, and show them on a page; for demonstrations only."""
    uvloop.run(_mailbox(host, smtp_port, port))
    return 0


async def _mailbox(host: str, smtp_port: int, port: int) -> None:
    # Only the operator's image has what it is made of.
    from deploy.demo.mailbox import Mailbox

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    caught = Mailbox(host=host, smtp_port=smtp_port)
    server = HttpServer(caught.app, host=host, port=port)
    caught.start()
    await server.start()
    await stopping.wait()
    await server.stop()
    caught.stop()
