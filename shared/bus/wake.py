"""Waking a relay in another process: a coalesced NOTIFY, sent after the commit on a connection of its own.

Inside business transactions a NOTIFY serializes commits (it cost 18 % with 16 writers).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.bus.crash import crash
from shared.db import Database

log = structlog.get_logger()
CHANNEL = "cowork_outbox"
COALESCE_SECONDS = 0.005
RECONNECT_SECONDS = 2.0


class Notifier:
    """Wakes the relay from a process that has none: at once, then at most once per 5 ms."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_wanted = False
        self._notifying: asyncio.Task[None] | None = None

    async def wake(self) -> None:
        crash("publish.after_commit")
        self._is_wanted = True
        if self._notifying is None or self._notifying.done():
            self._notifying = asyncio.create_task(self._notify_while_wanted())

    async def _notify_while_wanted(self) -> None:
        while self._is_wanted:
            # Whoever commits from here on may be missed by this NOTIFY and wants the next one.
            self._is_wanted = False
            await self._notify()
            await asyncio.sleep(COALESCE_SECONDS)

    async def _notify(self) -> None:
        try:
            async with self._database.connection() as connection:
                await connection.execute(text(f"NOTIFY {CHANNEL}"))
        except (DBAPIError, OSError) as error:
            # The relay polls as well; a lost wake-up costs a second, never an event.
            log.info("relay.wake_lost", exc_info=error)


async def listen(database: Database, wake: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Call `wake` at every NOTIFY, on a connection of its own, until cancelled."""
    loop = asyncio.get_running_loop()

    def notified(*_: object) -> None:
        loop.create_task(wake())  # noqa: RUF006 (sets an event and ends)

    while True:
        try:
            async with database.connection() as connection:
                raw = await connection.get_raw_connection()
                driver = raw.driver_connection
                assert driver is not None
                await driver.add_listener(CHANNEL, notified)
                while not driver.is_closed():
                    await asyncio.sleep(RECONNECT_SECONDS)
                    # Who only listens does not notice that nobody can speak to it any more.
                    await connection.execute(text("SELECT 1"))
        except (DBAPIError, OSError) as error:
            log.info("relay.listen_lost", exc_info=error)
        await asyncio.sleep(RECONNECT_SECONDS)
