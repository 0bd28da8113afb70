"""Relay: from the outbox to the transport, in order per key, by one leader per service."""

import asyncio
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import delete, select, text, update
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

_NEXT = (
    select(event_log).join(outbox, outbox.c.position == event_log.c.position).order_by(outbox.c.position).limit(BATCH)
)


class Relay:
    """Publishes one service's outbox until stopped. `wake` is called after commits that have published."""

    def __init__(self, service: str, database: Database, transport: Transport) -> None:
        self._service = service
        self._database = database
        self._transport = transport
        self._awake = asyncio.Event()
        self._stopping = False
        self.lease = Lease(database, "relay")

    async def wake(self) -> None:
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
                relayed = await self.relay_batch() if await self.lease.acquire() else 0
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
            if relayed < BATCH:
                await self._rest()

    async def relay_batch(self) -> int:
        """Publish up to BATCH events and strike out what was confirmed; return how many."""
        async with self._database.transaction() as session:
            rows = (await session.execute(_NEXT)).mappings().all()
        if not rows:
            return 0
        crash("relay.after_read")
        # What an erasure emptied while a redrive was pointing at it has nothing left to say.
        due = [row for row in rows if row["data"] is not None]
        # No transaction is open while the network is used.
        confirmed = await self._transport.publish([_envelope(row) for row in due])
        crash("relay.after_publish")
        refused = {row["position"] for row, is_confirmed in zip(due, confirmed, strict=True) if not is_confirmed}
        done = [row["position"] for row in rows if row["position"] not in refused]
        async with self._database.transaction() as session:
            if await self.lease.is_held(session):
                await _strike_out(session, done)
        crash("relay.after_delete")
        RELAYED.labels(self._service).inc(len(done))
        if len(done) < len(rows):
            raise TransportDown
        return len(done)

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._awake.wait(), IDLE_SECONDS)
        except TimeoutError:
            return


async def _strike_out(session: AsyncSession, positions: list[int]) -> None:
    await session.execute(delete(outbox).where(outbox.c.position.in_(positions)))
    relayed = update(event_log).where(event_log.c.position.in_(positions))
    await session.execute(relayed.values(relayed_at=text("now()")))
    # Somebody was erased while the event waited: its contents go now that the broker has it.
    await session.execute(
        relayed.where(event_log.c.redact_on_relay == 1).values(
            data=None, key=None, subject_ids=[], redacted_at=text("now()"), redact_on_relay=0
        )
    )


def _envelope(row: Any) -> Envelope:
    return Envelope(
        id=row["event_id"],
        type=row["type"],
        tenant_id=row["tenant_id"],
        key=row["key"],
        version=row["version"],
        epoch=row["epoch"],
        time=row["time"],
        data=row["data"],
        traceparent=row["traceparent"],
        causation_id=row["causation_id"],
        correlation_id=row["correlation_id"],
    )


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
