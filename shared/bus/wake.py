"""Waking a relay or a job in another process: a coalesced NOTIFY, sent after the commit on a connection of its own.

Inside business transactions a NOTIFY serializes commits (it cost 18 % with 16 writers).
"""

import asyncio
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.bus.crash import crash
from shared.db import Database

log = structlog.get_logger()
CHANNEL = "cowork_wake"
RELAY = "relay"
COALESCE_SECONDS = 0.005
RECONNECT_SECONDS = 2.0
_NOTIFY = text("SELECT pg_notify(:channel, what) FROM unnest(CAST(:names AS text[])) AS what")


class Notifier:
    """Wakes relay and jobs from a process that has none: at once, then at most once per 5 ms."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted: set[str] = set()
        self._notifying: asyncio.Task[None] | None = None

    def wake(self, what: str) -> None:
        crash("publish.after_commit")
        self._wanted.add(what)
        if self._notifying is None or self._notifying.done():
            self._notifying = asyncio.create_task(self._notify_while_wanted())

    async def _notify_while_wanted(self) -> None:
        while self._wanted:
            # Whoever commits from here on may be missed by this NOTIFY and wants the next one.
            names, self._wanted = sorted(self._wanted), set()
            await self._notify(names)
            await asyncio.sleep(COALESCE_SECONDS)

    async def _notify(self, names: list[str]) -> None:
        try:
            async with self._database.connection() as connection:
                await connection.execute(_NOTIFY, {"channel": CHANNEL, "names": names})
        except (DBAPIError, OSError) as error:
            # Relay and jobs poll as well; a lost wake-up costs seconds, never an event.
            log.info("wake.lost", exc_info=error)


async def listen(database: Database) -> None:
    """Wake what every NOTIFY names, on a connection of its own, until cancelled."""

    def notified(_connection: Any, _pid: int, _channel: str, what: str) -> None:
        waker = database.wakers.get(what)
        if waker is not None:
            waker(what)

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
            log.info("wake.listen_lost", exc_info=error)
        await asyncio.sleep(RECONNECT_SECONDS)
