"""`cowork run`: the whole suite on this machine, with a demo space."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import aiohttp
import uvloop
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from deploy.cli.connections import DEFAULT_FOLDER, Folder
from deploy.cli.demo import say_incomplete, seed
from deploy.demo.client import Client, Refused
from deploy.demo.seed import ADMIN, SLUG, SpaceTaken
from deploy.embedded.account import PostgresError
from deploy.embedded.suite import EmbeddedSuite
from services.notify.api import outbox_token
from shared import logging

console = Console(stderr=True, highlight=False)
T = TypeVar("T")
Port = Annotated[int, Parameter(env_var="COWORK_PORT", help="the one public port, on 127.0.0.1")]


def run(*, data: Folder = DEFAULT_FOLDER, port: Port = 8000, demo: bool = True) -> int:
    """Start the whole suite: PostgreSQL, seven services, one port; seed a demo space the first time.

    With COWORK_AMQP_URL set, that RabbitMQ carries the events instead of the local transport.
    """
    logging.configure("cowork", level=os.environ.get("COWORK_LOG_LEVEL", "WARNING"))
    try:
        uvloop.run(_run(data, port, wants_demo=demo))
    except (PostgresError, OSError) as error:
        console.print("[red]cowork cannot start:[/]", escape(str(error)), soft_wrap=True)
        return 1
    return 0


async def _run(folder: Path, port: int, *, wants_demo: bool) -> None:
    started = time.perf_counter()
    suite = EmbeddedSuite(folder, port=port, amqp_url=os.environ.get("COWORK_AMQP_URL"))
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        await suite.start()
        # Until the space is complete: a start that was interrupted has told nobody the password.
        is_first = wants_demo and not (folder / "seeded").exists()
        if is_first:
            is_first = await _unless_stopped(_seed(suite), stopping) is not False
        if not stopping.is_set():
            _announce(suite, is_first=is_first, seconds=time.perf_counter() - started)
        await _unless_stopped(suite.failed(), stopping)
    finally:
        console.print("stopping…")
        await suite.stop()


async def _unless_stopped(work: Coroutine[Any, Any, T], stopping: asyncio.Event) -> T | None:
    """Return what `work` returns, None when somebody presses Ctrl-C before it ends."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return None
    return task.result()


async def _seed(suite: EmbeddedSuite) -> bool:
    """Make the demo space, or what an interrupted start has left to make; whether the demo's password opens it.

    What keeps it from being complete is said, and keeps nobody from being served.
    """
    token = outbox_token(suite.secrets.digest_keys["notify"])
    try:
        await seed(
            lambda session: Client(lambda _: suite.url, session, slug=SLUG, outbox_token=token),
            password=suite.secrets.demo_password,
            operator_secret=suite.secrets.operator_secret,
        )
    except SpaceTaken as error:
        console.print(f"no demo space: {error}", markup=False)
        return False
    except (Refused, aiohttp.ClientError, TimeoutError) as error:
        say_incomplete(error)
        console.print("the next start goes on with it")
        return True
    (suite.folder / "seeded").touch()
    return True


def _announce(suite: EmbeddedSuite, *, is_first: bool, seconds: float) -> None:
    token = outbox_token(suite.secrets.digest_keys["notify"])
    lines = [
        f"cowork is ready in {seconds:.1f} s, using {suite.memory_bytes() / 1e6:.0f} MB with PostgreSQL",
        f"  address    {suite.url}/",
        f"  API docs   {suite.url}/docs/identity",
        f"  policy     {suite.url}/api/privacy/v1/tenants/{SLUG}/policy",
        f"  mails      {suite.url}/api/notify/v1/outbox?token={token}",
    ]
    if is_first:
        # Printed once; afterwards they are in the secrets file, which only its owner can read.
        lines += [
            f"  space      {SLUG}",
            f"  admin      {ADMIN}   password {suite.secrets.demo_password}",
            "  members    member01@canal.example.com … member40@canal.example.com   same password",
        ]
    if suite.postgres.folder.parent != suite.folder.resolve():
        lines.append(f"  database   {suite.postgres.folder} (PostgreSQL's user cannot enter the data folder)")
    lines.append("  Ctrl-C stops it; the data stays.")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
