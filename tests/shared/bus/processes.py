"""The processes of the pipeline that can be killed: a relay of `feed`, the consumer of `notify`."""

import asyncio
from contextlib import suppress

from shared.bus import Consumers
from shared.bus.inbox import Inbox
from shared.bus.lanes import Lanes
from shared.bus.relay import Relay
from shared.bus.transport import TransportDown
from shared.bus.worker import BusWorker
from shared.db import Database
from tests.shared.bus.broker import Broker, Wire

# A lane holds an event for two attempts, then parks it.
HOLD_SECONDS = 0.5


class RelayProcess:
    """A relay with its connection; `turn` is one round of its loop."""

    def __init__(self, feed: Database, broker: Broker) -> None:
        self.wire = Wire(broker)
        self.relay = Relay("feed", feed, self.wire)
        self.held: asyncio.Task[None] | None = None

    async def turn(self) -> None:
        with suppress(TransportDown):
            if await self.relay.lease.hold():
                await self.relay.relay_waiting()


class ConsumerProcess:
    """Lanes over an inbox, and the worker whose parked runner polls on the clock."""

    def __init__(self, notify: Database, consumers: Consumers, broker: Broker) -> None:
        self.inbox = Inbox(notify, consumers)
        self._database = notify
        self._worker = BusWorker("notify", notify, consumers, Wire(broker))
        self.is_killed = False
        self.connect()
        self.runner = asyncio.create_task(self._worker._retry_parked())

    def connect(self) -> None:
        self.lanes = Lanes(self._database, self.inbox, concurrency=8, hold_seconds=HOLD_SECONDS)

    def tasks(self) -> list[asyncio.Task[None]]:
        return [*self.lanes._tasks, self.runner]

    async def disconnect(self) -> None:
        running = list(self.lanes._tasks)
        self.lanes.abandon()
        await asyncio.gather(*running, return_exceptions=True)

    async def end(self) -> None:
        self.runner.cancel()
        await self.disconnect()
        await asyncio.gather(self.runner, return_exceptions=True)
