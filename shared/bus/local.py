"""The transport of the embedded mode: confirmed = a waiting row in each subscriber's own inbox table."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import Envelope
from shared.bus.tables import inbox_waiting
from shared.bus.transport import Deliver, Delivery
from shared.db import Database, fetch

POLL_SECONDS = 1.0


class LocalTransport:
    """Serves all services of one process. `databases` and `subscriptions` are keyed by service name."""

    def __init__(self, databases: Mapping[str, Database], subscriptions: Mapping[str, Iterable[str]]) -> None:
        self._databases = databases
        self._subscribers: dict[str, list[str]] = defaultdict(list)
        for service, types in subscriptions.items():
            for event_type in types:
                self._subscribers[event_type].append(service)
        self._arrived = {service: asyncio.Event() for service in databases}

    async def publish(self, envelopes: Sequence[Envelope]) -> list[bool]:
        waiting: dict[str, list[dict[str, object]]] = defaultdict(list)
        for envelope in envelopes:
            row = {"event_id": envelope.id, "key": envelope.key, "body": envelope.encode()}
            for service in self._subscribers.get(envelope.type, ()):
                waiting[service].append(row)
        for service, rows in waiting.items():
            async with self._databases[service].transaction() as session:
                await session.execute(insert(inbox_waiting).on_conflict_do_nothing(), rows)
            self._arrived[service].set()
        return [True] * len(envelopes)

    async def consume(self, service: str, types: Iterable[str], deliver: Deliver, *, limit: int) -> None:
        held: set[int] = set()
        arrived = self._arrived[service]
        while True:
            arrived.clear()
            for position, body in await self._next(service, held, limit=limit):
                held.add(position)
                deliver(self._delivery(service, position, body, held))
            if len(held) < limit:
                await _wait(arrived)
            else:
                await asyncio.sleep(0.005)

    async def drain_dead(
        self,
        service: str,
        types: Iterable[str],
        park: Callable[[bytes], Awaitable[None]],
        none_left: Callable[[], None],
    ) -> None:
        none_left()
        await asyncio.Event().wait()

    async def close(self) -> None:
        return None

    async def _next(self, service: str, held: set[int], *, limit: int) -> list[tuple[int, bytes]]:
        columns = select(inbox_waiting.c.position, inbox_waiting.c.body)
        waiting = columns.where(inbox_waiting.c.position.not_in(held)).order_by(inbox_waiting.c.position)
        async with self._databases[service].transaction() as session:
            rows = await session.execute(waiting.limit(limit - len(held)))
            return [(position, body) for position, body in rows]

    def _delivery(self, service: str, position: int, body: bytes, held: set[int]) -> Delivery:
        async def settle(session: AsyncSession) -> None:
            await fetch(session, "DELETE FROM inbox_waiting WHERE position = $1", position)

        async def acknowledge() -> None:
            held.discard(position)
            self._arrived[service].set()

        return Delivery(body, settle, acknowledge)


async def _wait(arrived: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(arrived.wait(), POLL_SECONDS)
    except TimeoutError:
        return
