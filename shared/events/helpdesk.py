"""Published by helpdesk. `requester_id` is None once the requester is erased."""

from uuid import UUID

from shared.bus.contracts import AccountId, Event, event


@event("helpdesk.ticket.opened.v1", key="ticket_id")
class TicketOpened(Event):
    ticket_id: UUID
    requester_id: AccountId


@event("helpdesk.ticket.replied.v1", key="ticket_id")
class TicketReplied(Event):
    """A public reply; internal notes publish nothing."""

    ticket_id: UUID
    reply_id: UUID
    author_id: AccountId
    requester_id: AccountId | None
    assignee_id: AccountId | None
    by_staff: bool


@event("helpdesk.ticket.assigned.v1", key="ticket_id")
class TicketAssigned(Event):
    ticket_id: UUID
    assignee_id: AccountId | None


@event("helpdesk.ticket.closed.v1", key="ticket_id")
class TicketClosed(Event):
    ticket_id: UUID
    requester_id: AccountId | None
