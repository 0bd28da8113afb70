"""Consuming: one message = one transaction = inbox row + effects + outgoing events, exactly once."""

import asyncio
from enum import StrEnum

import structlog
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.bus.consumers import Consumers
from shared.bus.contracts import Envelope
from shared.bus.crash import crash
from shared.bus.outbox import handling
from shared.bus.parking import park_in
from shared.bus.tables import inbox
from shared.bus.transport import Delivery
from shared.db import Database, fetch
from shared.telemetry import HANDLED, span

log = structlog.get_logger()
HANDLING_SECONDS = 30.0
# SQLSTATE of the tombstone trigger: the event is about somebody who is erased.
SUBJECT_ERASED = "CW410"


class Outcome(StrEnum):
    HANDLED = "handled"
    DUPLICATE = "duplicate"
    BLOCKED = "blocked"
    SUBJECT_ERASED = "subject_erased"


class _Blocked(Exception):
    """An earlier event of the key is parked."""


# One round trip: the inbox row (absent = duplicate), and whether the key waits behind a parked event (a duplicate of
# that event waits, too: the parked runner alone tries it again).
_OPEN = (
    "WITH fresh AS (INSERT INTO inbox (event_id, type) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1)"
    " SELECT EXISTS (SELECT FROM fresh), EXISTS (SELECT FROM inbox_parked WHERE key = $3)"
)
_ADVANCE = (
    "INSERT INTO watermarks (type, key, epoch, version) VALUES ($1, $2, $3, $4) ON CONFLICT (type, key)"
    " DO UPDATE SET epoch = excluded.epoch, version = excluded.version"
    " WHERE (watermarks.epoch, watermarks.version) < (excluded.epoch, excluded.version) RETURNING 1"
)


class Inbox:
    """Handles one service's messages; `handle` is called by the lanes and by the parked runner."""

    def __init__(self, database: Database, consumers: Consumers, *, handling_seconds: float = HANDLING_SECONDS) -> None:
        self._database = database
        self._consumers = consumers
        self._handling_seconds = handling_seconds

    async def handle(self, envelope: Envelope, delivery: Delivery, *, waits_its_turn: bool = True) -> Outcome:
        """Run every reaction to the event in one transaction and settle the delivery.

        Raises whatever a reaction raises (nothing is changed then), TimeoutError when one hangs, Undecodable when
        the payload does not fit its contract.
        """
        token = handling.set(envelope)
        try:
            with span(f"consume {envelope.type}", traceparent=envelope.traceparent):
                outcome = await self._attempt(envelope, delivery, waits_its_turn=waits_its_turn)
        finally:
            handling.reset(token)
        HANDLED.labels(self._consumers.service, outcome).inc()
        crash("consumer.after_commit")
        return outcome

    async def _attempt(self, envelope: Envelope, delivery: Delivery, *, waits_its_turn: bool) -> Outcome:
        try:
            async with asyncio.timeout(self._handling_seconds):
                async with self._database.transaction(envelope.tenant_id) as session:
                    return await self._react(session, envelope, delivery, waits_its_turn=waits_its_turn)
        except _Blocked:
            async with self._database.transaction() as session:
                await park_in(session, envelope, delivery.body, state="blocked", reason="behind_parked")
                await delivery.settle(session)
            return Outcome.BLOCKED
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != SUBJECT_ERASED:
                raise
            return await self._discard(envelope, delivery)

    async def _react(
        self, session: AsyncSession, envelope: Envelope, delivery: Delivery, *, waits_its_turn: bool
    ) -> Outcome:
        crash("consumer.before_inbox")
        [(is_fresh, is_blocked)] = await fetch(session, _OPEN, envelope.id, envelope.type, envelope.key)
        if is_fresh and is_blocked and waits_its_turn and not self._consumers.overtakes(envelope.type):
            raise _Blocked
        if is_fresh:
            await self._apply(session, envelope)
        await delivery.settle(session)
        crash("consumer.before_commit")
        return Outcome.HANDLED if is_fresh else Outcome.DUPLICATE

    async def _apply(self, session: AsyncSession, envelope: Envelope) -> None:
        event = envelope.event()
        registrations = self._consumers.reactions(envelope.type)
        copies = [r for r in registrations if r.latest_only]
        is_latest = not copies or await _advance(session, envelope)
        for registration in registrations:
            if is_latest or not registration.latest_only:
                await registration.reaction(session, event)
        crash("consumer.after_effects")

    async def _discard(self, envelope: Envelope, delivery: Delivery) -> Outcome:
        async with self._database.transaction() as session:
            row = {"event_id": envelope.id, "type": envelope.type, "outcome": Outcome.SUBJECT_ERASED}
            await session.execute(upsert(inbox).values(row).on_conflict_do_nothing())
            await delivery.settle(session)
        log.info("event.subject_erased", event_id=str(envelope.id), event_type=envelope.type)
        return Outcome.SUBJECT_ERASED


async def _advance(session: AsyncSession, envelope: Envelope) -> bool:
    """Raise the key's watermark; False when something newer was seen already."""
    return bool(await fetch(session, _ADVANCE, envelope.type, envelope.key, envelope.epoch, envelope.version))
