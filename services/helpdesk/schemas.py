"""What the help desk accepts and returns."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, StringConstraints

from services.helpdesk.models import Category, Priority, State
from shared.http import In, Out
from shared.people import PersonOut

Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]


class TicketIn(In):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"subject": "Door code", "body": "It refuses mine since Monday.", "category": "access"}
        }
    )

    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    body: Text
    category: Category = Category.OTHER
    location_id: UUID | None = None
    reservation_id: UUID | None = None
    invoice_id: UUID | None = None


class TicketPatch(In):
    state: State | None = None
    priority: Priority | None = None
    category: Category | None = None
    location_id: UUID | None = None


class AssignmentIn(In):
    assignee_id: UUID | None


class WordsIn(In):
    body: Text


class TicketOut(Out):
    id: UUID
    requester: PersonOut
    assignee: PersonOut | None
    subject: str | None
    category: Category
    priority: Priority
    state: State
    location_id: UUID | None
    reservation_id: UUID | None
    invoice_id: UUID | None
    created_at: datetime
    first_replied_at: datetime | None
    solved_at: datetime | None
    closed_at: datetime | None


class WordsOut(Out):
    """A reply or a note; `body` is None once the requester is erased."""

    id: UUID
    author: PersonOut
    by_staff: bool
    body: str | None
    created_at: datetime


class AttachmentOut(Out):
    id: UUID
    name: str
    media_type: str
    size_bytes: int
    created_at: datetime
