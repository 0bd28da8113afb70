"""The verbs of a ticket: open, show, move, assign, close."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.helpdesk.errors import StateNotAllowed, TicketNotFound
from services.helpdesk.models import NEXT, Category, Priority, Reply, State, Ticket
from shared.auth import Caller
from shared.bus import publish, publish_all
from shared.db import tenant_of, uuid7
from shared.events.helpdesk import TicketAssigned, TicketClosed, TicketOpened
from shared.http import check_match

CLOSES_AFTER = timedelta(days=7)


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
    """Open a ticket with its first words, in three statements."""
    ticket_id, tenant_id = uuid7(), tenant_of(session)
    row = {
        "id": ticket_id,
        "tenant_id": tenant_id,
        "requester_id": caller.account_id,
        "subject": subject,
        "category": category,
        "priority": priority,
        "state": State.NEW,
        "version": 1,
        **links,
    }
    ticket = (await session.execute(insert(Ticket).values(row).returning(Ticket))).scalar_one()
    first = {"id": uuid7(), "tenant_id": tenant_id, "ticket_id": ticket_id, "by_staff": False, "body": body}
    await session.execute(insert(Reply).values(**first, author_id=caller.account_id))
    event = TicketOpened(tenant_id=tenant_id, ticket_id=ticket_id, requester_id=caller.account_id)
    await publish(session, event)
    return ticket


async def get_ticket(session: AsyncSession, caller: Caller, ticket_id: UUID, *, lock: bool = False) -> Ticket:
    """Return the caller's own ticket, or anybody's for staff. Raises TicketNotFound."""
    ticket = await session.get(Ticket, ticket_id, with_for_update=lock or None)
    if ticket is None or not (caller.is_staff or ticket.requester_id == caller.account_id):
        raise TicketNotFound
    return ticket


async def list_tickets(
    session: AsyncSession,
    *,
    requester_id: UUID | None,
    state: State | None,
    assignee_id: UUID | None,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[Ticket]:
    """Return up to `limit + 1` tickets, newest first, after a keyset position (created_at, id)."""
    statement = select(Ticket).order_by(Ticket.created_at.desc(), Ticket.id.desc()).limit(limit + 1)
    if requester_id is not None:
        statement = statement.where(Ticket.requester_id == requester_id)
    if state is not None:
        statement = statement.where(Ticket.state == state)
    if assignee_id is not None:
        statement = statement.where(Ticket.assignee_id == assignee_id)
    if after is not None:
        created_at, id_ = after
        earlier = (Ticket.created_at < created_at) | ((Ticket.created_at == created_at) & (Ticket.id < id_))
        statement = statement.where(earlier)
    return (await session.execute(statement)).scalars().all()


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


def _closed(ticket: Ticket) -> TicketClosed:
    return TicketClosed(tenant_id=ticket.tenant_id, ticket_id=ticket.id, requester_id=ticket.requester_id)
