"""What is said on a ticket: public replies, internal notes, attachments."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import delete, insert, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from services.helpdesk.actions.tickets import get_ticket, hold_ticket
from services.helpdesk.errors import AttachmentNotFound, TicketClosed, UploadExpired
from services.helpdesk.models import Attachment, Note, Reply, State, Upload
from shared.auth import Caller
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.helpdesk import TicketReplied


async def add_reply(session: AsyncSession, caller: Caller, ticket_id: UUID, *, body: str, now: datetime) -> Reply:
    """Answer publicly: staff's word makes a ticket pending, the requester's reopens it.

    Raises RequesterErased, TicketClosed.
    """
    ticket = await hold_ticket(session, caller, ticket_id)
    if ticket.state is State.CLOSED:
        raise TicketClosed
    by_staff = ticket.requester_id != caller.account_id
    row = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "ticket_id": ticket_id,
        "author_id": caller.account_id,
        "by_staff": by_staff,
        "body": body,
    }
    reply = (await session.execute(insert(Reply).values(row).returning(Reply))).scalar_one()
    ticket.state = State.PENDING if by_staff else State.OPEN
    if by_staff and ticket.first_replied_at is None:
        ticket.first_replied_at = now
    ticket.version += 1
    await session.flush()
    event = TicketReplied(
        tenant_id=ticket.tenant_id,
        ticket_id=ticket_id,
        reply_id=reply.id,
        author_id=caller.account_id,
        requester_id=ticket.requester_id,
        assignee_id=ticket.assignee_id,
        by_staff=by_staff,
    )
    await publish(session, event, version=ticket.version)
    return reply


async def list_replies(session: AsyncSession, caller: Caller, ticket_id: UUID) -> Sequence[Reply]:
    """Return the public conversation in order."""
    await get_ticket(session, caller, ticket_id)
    statement = select(Reply).where(Reply.ticket_id == ticket_id).order_by(Reply.created_at, Reply.id)
    return (await session.execute(statement)).scalars().all()


async def add_note(session: AsyncSession, caller: Caller, ticket_id: UUID, *, body: str) -> Note:
    """Write something for the staff only; nothing is published. Raises RequesterErased."""
    await hold_ticket(session, caller, ticket_id)
    row = {"id": uuid7(), "tenant_id": tenant_of(session), "ticket_id": ticket_id, "body": body}
    statement = insert(Note).values(**row, author_id=caller.account_id).returning(Note)
    return (await session.execute(statement)).scalar_one()


async def list_notes(session: AsyncSession, caller: Caller, ticket_id: UUID) -> Sequence[Note]:
    await get_ticket(session, caller, ticket_id)
    statement = select(Note).where(Note.ticket_id == ticket_id).order_by(Note.created_at, Note.id)
    return (await session.execute(statement)).scalars().all()


async def begin_upload(session: AsyncSession, caller: Caller, ticket_id: UUID) -> str:
    """Return the random key for a file that is about to be stored; once committed, the key leads to it.

    Raises RequesterErased.
    """
    ticket = await hold_ticket(session, caller, ticket_id)
    key = uuid4().hex
    await session.execute(insert(Upload).values(key=key, tenant_id=ticket.tenant_id, ticket_id=ticket_id))
    return key


async def attach(
    session: AsyncSession, caller: Caller, ticket_id: UUID, *, name: str, key: str, media_type: str, size_bytes: int
) -> Attachment:
    """Show a file that is in the store under `key`, where its upload ends. Raises RequesterErased, UploadExpired."""
    ticket = await hold_ticket(session, caller, ticket_id)
    ended = delete(Upload).where(Upload.key == key).returning(Upload.key)
    if await session.scalar(ended) is None:
        raise UploadExpired
    row = {
        "id": uuid7(),
        "tenant_id": ticket.tenant_id,
        "ticket_id": ticket_id,
        "author_id": caller.account_id,
        "name": name,
        "key": key,
        "media_type": media_type,
        "size_bytes": size_bytes,
    }
    return (await session.execute(insert(Attachment).values(row).returning(Attachment))).scalar_one()


async def is_noted(session: AsyncSession, ticket_id: UUID, key: str) -> bool:
    """Whether an upload or an attachment leads to a file; the transaction that ends the one begins the other."""
    uploads = select(Upload.key).where(Upload.key == key)
    attachments = select(Attachment.key).where(Attachment.ticket_id == ticket_id, Attachment.key == key)
    return await session.scalar(union_all(uploads, attachments)) is not None


async def list_attachments(session: AsyncSession, caller: Caller, ticket_id: UUID) -> Sequence[Attachment]:
    await get_ticket(session, caller, ticket_id)
    statement = select(Attachment).where(Attachment.ticket_id == ticket_id).order_by(Attachment.created_at)
    return (await session.execute(statement)).scalars().all()


async def get_attachment(session: AsyncSession, caller: Caller, attachment_id: UUID) -> Attachment:
    """Raises AttachmentNotFound, also when the ticket is not the caller's."""
    attachment = await session.get(Attachment, attachment_id)
    if attachment is None:
        raise AttachmentNotFound
    await get_ticket(session, caller, attachment.ticket_id)
    return attachment
