"""The verbs of a ticket: open, show, move, assign, close."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import chain, count, islice
from typing import Any
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.helpdesk.errors import RequesterErased, StateNotAllowed, TicketNotFound
from services.helpdesk.models import NEXT, Category, Priority, State, Ticket
from shared.auth import Caller
from shared.bus import publish, publish_all
from shared.db import fetch, tenant_of, uuid7
from shared.events.helpdesk import TicketAssigned, TicketClosed, TicketOpened
from shared.http import check_match

CLOSES_AFTER = timedelta(days=7)
LINKS = ("location_id", "reservation_id", "invoice_id")
# The reply reads the ticket's row, so that the guard on replies finds the requester that it asks for.
_OPEN = text("""
WITH opened AS (
 INSERT INTO tickets (id, tenant_id, requester_id, subject, category, priority, state, location_id, reservation_id,
  invoice_id, version)
 VALUES (:id, :tenant_id, :requester_id, :subject, :category, :priority, 'new', :location_id, :reservation_id,
  :invoice_id, 1) RETURNING id, tenant_id, requester_id)
INSERT INTO replies (id, tenant_id, ticket_id, author_id, by_staff, body)
SELECT CAST(:reply_id AS uuid), tenant_id, id, requester_id, false, :body FROM opened
""")

# In this order: an erasure that has been waited for has left its tombstone. Surrogates are of version 4.
_HOLD_REQUESTER = """
SELECT CASE
 WHEN requester_id IS NULL OR substr(requester_id::text, 15, 1) = '4' THEN true
 WHEN pg_advisory_xact_lock_shared(subject_lock(tenant_id, requester_id)) IS NULL THEN true
 ELSE is_tombstoned(tenant_id, requester_id) END AS is_erased
FROM tickets WHERE id = $1
"""
_CLOSE_OPEN = """
UPDATE tickets SET state = 'closed', closed_at = $2, version = version + 1
WHERE requester_id = ANY($1) AND state <> 'closed' RETURNING id, version
"""

SHOWN = tuple(column.name for column in Ticket.__table__.columns if column.name not in ("tenant_id", "version"))
_WANTED = {
    "requester_id": "requester_id = {}",
    "state": "state = {}",
    "assignee_id": "assignee_id = {}",
    "after": "(created_at, id) < ({}, {})",
}


@cache
def _listing(*filters: str) -> str:
    """Return the query of a set of filters; the limit is `$1`, their values follow in order."""
    numbers = (f"${number}" for number in count(2))
    conditions = [_WANTED[name].format(*islice(numbers, _WANTED[name].count("{}"))) for name in filters]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join(SHOWN)} FROM tickets {where} ORDER BY created_at DESC, id DESC LIMIT $1"  # noqa: S608


async def open_ticket(
    session: AsyncSession,
    caller: Caller,
    *,
    subject: str,
    body: str,
    category: Category,
    priority: Priority = Priority.NORMAL,
    **links: UUID | None,
) -> Ticket:
    """Open a ticket with its first words, in one statement; the session does not track it."""
    row: dict[str, Any] = {
        **dict.fromkeys(LINKS),
        **links,
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "requester_id": caller.account_id,
        "subject": subject,
        "category": category,
        "priority": priority,
    }
    await session.execute(_OPEN, {**row, "reply_id": uuid7(), "body": body})
    event = TicketOpened(tenant_id=row["tenant_id"], ticket_id=row["id"], requester_id=caller.account_id)
    await publish(session, event)
    return Ticket(**row, state=State.NEW, version=1)


async def get_ticket(session: AsyncSession, caller: Caller, ticket_id: UUID, *, lock: bool = False) -> Ticket:
    """Return the caller's own ticket, or anybody's for staff. Raises TicketNotFound."""
    ticket = await session.get(Ticket, ticket_id, with_for_update=lock or None)
    if ticket is None or not (caller.is_staff or ticket.requester_id == caller.account_id):
        raise TicketNotFound
    return ticket


async def hold_ticket(session: AsyncSession, caller: Caller, ticket_id: UUID) -> Ticket:
    """Return a ticket to write on, locked together with its requester until the transaction ends.

    What is written is there before the requester's erasure, or not at all. Raises TicketNotFound, RequesterErased.
    """
    # The person before the row, as an erasure locks them: the other way round, each would wait for the other.
    held = await fetch(session, _HOLD_REQUESTER, ticket_id)
    ticket = await get_ticket(session, caller, ticket_id, lock=True)
    if any(row["is_erased"] for row in held):
        raise RequesterErased
    return ticket


async def list_tickets(
    session: AsyncSession,
    *,
    requester_id: UUID | None,
    state: State | None,
    assignee_id: UUID | None,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[Mapping[str, Any]]:
    """Return up to `limit + 1` tickets as they are shown, newest first, after a keyset position (created_at, id)."""
    single = {"requester_id": requester_id, "state": state, "assignee_id": assignee_id}
    given = {name: (value,) for name, value in single.items() if value is not None}
    given |= {"after": after} if after else {}
    return await fetch(session, _listing(*given), limit + 1, *chain.from_iterable(given.values()))


async def change_ticket(
    session: AsyncSession,
    caller: Caller,
    ticket_id: UUID,
    *,
    changes: dict[str, Any],
    if_match: str | None,
    now: datetime,
) -> Ticket:
    """Change state, priority, category or place. Raises StateNotAllowed; of two agents, one gets 412."""
    ticket = await get_ticket(session, caller, ticket_id, lock=True)
    check_match(if_match, ticket.version)
    state = changes.pop("state", None)
    if state is not None and state is not ticket.state:
        if state not in NEXT[ticket.state]:
            raise StateNotAllowed
        await _move(session, ticket, state, now=now)
    for name, value in changes.items():
        setattr(ticket, name, value)
    ticket.version += 1
    await session.flush()
    return ticket


async def _move(session: AsyncSession, ticket: Ticket, state: State, *, now: datetime) -> None:
    ticket.state = state
    ticket.solved_at = now if state is State.SOLVED else ticket.solved_at
    if state is State.CLOSED:
        ticket.closed_at = now
        await publish(session, _closed(ticket), version=ticket.version + 1)


async def assign(
    session: AsyncSession, caller: Caller, ticket_id: UUID, *, assignee_id: UUID | None, if_match: str | None
) -> Ticket:
    """Give a ticket to somebody of the staff, or to nobody."""
    ticket = await get_ticket(session, caller, ticket_id, lock=True)
    check_match(if_match, ticket.version)
    ticket.assignee_id = assignee_id
    ticket.version += 1
    if ticket.state is State.NEW:
        ticket.state = State.OPEN
    await session.flush()
    event = TicketAssigned(tenant_id=ticket.tenant_id, ticket_id=ticket.id, assignee_id=assignee_id)
    await publish(session, event, version=ticket.version)
    return ticket


async def close_solved(session: AsyncSession, *, now: datetime) -> int:
    """Close what has been solved for a week without another word; return how many."""
    quiet = update(Ticket).where(Ticket.state == State.SOLVED, Ticket.solved_at < now - CLOSES_AFTER)
    closing = quiet.values(state=State.CLOSED, closed_at=now, version=Ticket.version + 1).returning(Ticket)
    closed = (await session.execute(closing)).scalars().all()
    await publish_all(session, [(_closed(ticket), ticket.version) for ticket in closed])
    return len(closed)


async def close_open(session: AsyncSession, requesters: Sequence[UUID], *, now: datetime) -> None:
    """Close what people who are about to be erased have left open: nobody will answer, and retention counts from then."""
    closed = await fetch(session, _CLOSE_OPEN, list(requesters), now)
    tenant_id = tenant_of(session)
    events = [TicketClosed(tenant_id=tenant_id, ticket_id=row["id"], requester_id=None) for row in closed]
    await publish_all(session, [(event, row["version"]) for event, row in zip(events, closed, strict=True)])


def _closed(ticket: Ticket) -> TicketClosed:
    return TicketClosed(tenant_id=ticket.tenant_id, ticket_id=ticket.id, requester_id=ticket.requester_id)
