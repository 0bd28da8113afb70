"""Relay: from the outbox to the transport, in order per key, by one leader per service."""

import asyncio
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import BigInteger, all_, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.contracts import Envelope
from shared.bus.crash import crash
from shared.bus.leases import Lease
from shared.bus.tables import event_log, outbox
from shared.bus.transport import Transport, TransportDown
from shared.db import Database
from shared.telemetry import LEASE_EPOCH, RELAYED

log = structlog.get_logger()
BATCH = 200
IDLE_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 5.0

# The fields of an envelope, in its order, after the position.
_EVENT = (
    *(event_log.c.position, event_log.c.event_id, event_log.c.type, event_log.c.tenant_id, event_log.c.key),
    *(event_log.c.version, event_log.c.epoch, event_log.c.time, event_log.c.data, event_log.c.traceparent),
    *(event_log.c.causation_id, event_log.c.correlation_id),
)
# What is in flight is left out by name: a position below it may be committed later than one above.
_NEXT = (
    select(*_EVENT)
    .join(outbox, outbox.c.position == event_log.c.position)
    .where(outbox.c.position != all_(bindparam("in_flight", type_=ARRAY(BigInteger))))
    .order_by(outbox.c.position)
    .limit(BATCH)
)
# One statement, so that the lease is ours in the very snapshot that strikes out. Contents of somebody who was
# erased while the event waited go now that the broker has it.
_STRIKE_OUT = text(
    "WITH held AS (SELECT FROM leases WHERE name = :name AND holder = :holder AND expires_at > now()),"
    " struck AS (DELETE FROM outbox WHERE position = ANY(:positions) AND EXISTS (SELECT FROM held)),"
    " relayed AS (UPDATE event_log SET relayed_at = now(), redact_on_relay = 0,"
    "  data = CASE redact_on_relay WHEN 0 THEN data END, key = CASE redact_on_relay WHEN 0 THEN key END,"
    "  subject_ids = CASE redact_on_relay WHEN 0 THEN subject_ids ELSE '{}' END,"
    "  redacted_at = CASE redact_on_relay WHEN 0 THEN redacted_at ELSE now() END"
    "  WHERE position = ANY(:positions) AND EXISTS (SELECT FROM held))"
    " SELECT EXISTS (SELECT FROM held)"
)
Rows = list[Any]


class Relay:
    """Publishes one service's outbox until stopped. `wake` is called after commits that have published."""

    def __init__(self, service: str, database: Database, transport: Transport) -> None:
        self._service = service
        self._database = database
        self._transport = transport
        self._awake = asyncio.Event()
        self._stopping = False
        # Position and key of what is being published: one batch at a time per aggregate, so that each stays in order.
        self._in_flight: dict[int, str] = {}
        self._taking = asyncio.Lock()
        self.lease = Lease(database, "relay")

    def wake(self, _: str = "") -> None:
        self._awake.set()

    async def stop(self) -> None:
        """Relay what is left, then give the lease up."""
        self._stopping = True
        self._awake.set()

    async def run(self) -> None:
        backoff = 0.1
        while True:
            self._awake.clear()
            try:
                relayed = await self.relay_waiting() if await self.lease.hold() else 0
                backoff = 0.1
            except (TransportDown, DBAPIError, OSError) as error:
                log.warning("relay.failed", exc_info=error)
                relayed = 0
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
                if self._stopping:
                    return
                continue
            LEASE_EPOCH.labels(self._service).set(self.lease.epoch)
            if relayed == 0 and self._stopping:
                await self.lease.release()
                return
            if relayed < BATCH and not self._stopping:
                await self._rest()

    async def relay_waiting(self) -> int:
        """Relay what waits, a backlog as two batches side by side; return how many. Raises TransportDown."""
        rows = await self._take()
        if len(rows) < BATCH:
            return await self._send(rows)
        pumps = (self._pump(rows), self._pump(await self._take()))
        outcomes = await asyncio.gather(*pumps, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return sum(outcome for outcome in outcomes if isinstance(outcome, int))

    async def _pump(self, rows: Rows) -> int:
        relayed = 0
        while rows:
            relayed += await self._send(rows)
            rows = await self._take() if await self.lease.hold() else []
        return relayed

    async def _take(self) -> Rows:
        """Read the next events that nobody has in flight, of aggregates that have none in flight."""
        async with self._taking:
            async with self._database.connection() as connection:
                found = (await connection.execute(_NEXT, {"in_flight": list(self._in_flight)})).all()
            busy = set(self._in_flight.values())
            rows = [row for row in found if row.key not in busy]
            self._in_flight.update((row.position, row.key) for row in rows)
        return rows

    async def _send(self, rows: Rows) -> int:
        """Publish a batch and strike out what was confirmed; return how many. No transaction is open meanwhile."""
        if not rows:
            return 0
        # What an erasure emptied while a redrive was pointing at it has nothing left to say.
        due = [row for row in rows if row.data is not None]
        try:
            crash("relay.after_read")
            confirmed = await self._transport.publish([Envelope(*row[1:]) for row in due])
            crash("relay.after_publish")
            refused = {row.position for row, is_confirmed in zip(due, confirmed, strict=True) if not is_confirmed}
            done = [row.position for row in rows if row.position not in refused]
            await self._strike_out(done)
            crash("relay.after_delete")
        finally:
            for row in rows:
                del self._in_flight[row.position]
        RELAYED.labels(self._service).inc(len(done))
        if len(done) < len(rows):
            raise TransportDown
        return len(done)

    async def _strike_out(self, positions: list[int]) -> None:
        parameters = {"positions": positions, "name": self.lease.name, "holder": self.lease.holder}
        async with self._database.connection() as connection:
            is_held = await connection.scalar(_STRIKE_OUT, parameters)
        if not is_held:
            self.lease.lose()

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._awake.wait(), IDLE_SECONDS)
        except TimeoutError:
            return


_REDRIVE = text(
    "INSERT INTO outbox (position, key) SELECT position, key FROM event_log"
    " WHERE relayed_at >= :since AND redacted_at IS NULL AND data IS NOT NULL ON CONFLICT DO NOTHING RETURNING position"
)


async def redrive(database: Database, *, since: datetime) -> int:
    """Send again what was relayed since an instant (a broker has lost its volume); inboxes drop duplicates.

    Returns the number of events. What was redacted meanwhile is not sent again.
    """
    async with database.transaction() as session:
        sent_again = len((await session.execute(_REDRIVE, {"since": since})).all())
        crash("redrive.before_commit")
    crash("redrive.after_commit")
    return sent_again


_STATUS = text("SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM outbox")


async def outbox_status(session: AsyncSession) -> tuple[int, float]:
    """Return how many events wait for their confirm and the age of the oldest in seconds."""
    waiting, oldest = (await session.execute(_STATUS)).one()
    return int(waiting), float(oldest)
