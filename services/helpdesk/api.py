"""HTTP in: tickets for their requester and the staff, notes for the staff alone."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response, UploadFile

from services.helpdesk.actions import tickets, words
from services.helpdesk.attachments import MAX_BYTES, cleaned
from services.helpdesk.errors import (
    AttachmentKindNotAllowed,
    AttachmentNotFound,
    AttachmentTooLarge,
    NotStaff,
    RequesterErased,
    StateNotAllowed,
    TicketClosed,
    TicketNotFound,
    UploadExpired,
)
from services.helpdesk.models import Note, Reply, State, Ticket
from services.helpdesk.schemas import AssignmentIn, AttachmentOut, TicketIn, TicketOut, TicketPatch, WordsIn, WordsOut
from services.helpdesk.staff import check_staff
from shared.auth import Caller, CurrentCaller, RoleRequired, Session, caller_session, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import IfMatch, Page, Paging, set_etag
from shared.idempotency import Idempotent
from shared.people import PersonOut, find_people, language_of
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["helpdesk"])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]
MATCH = (PreconditionFailed, PreconditionRequired)


@router.post("/tickets", status_code=201, summary="Open a ticket")
async def open_ticket(
    body: TicketIn, caller: CurrentCaller, session: Session, once: Idempotent, response: Response
) -> dict[str, UUID]:
    ticket = await once(
        lambda: tickets.open_ticket(session, caller, **body.model_dump()),
        lambda made: tickets.get_ticket(session, caller, made),
    )
    set_etag(response, ticket.version)
    response.headers["Location"] = f"/api/helpdesk/v1/tickets/{ticket.id}"
    return {"id": ticket.id}


@router.get("/tickets", response_model=Page[TicketOut], summary="Your tickets; staff may ask for the queue")
async def list_tickets(
    request: Request,
    caller: CurrentCaller,
    paging: Paging,
    queue: bool = False,
    state: State | None = None,
    assignee_id: UUID | None = None,
) -> Response:
    if queue and not caller.is_staff:
        raise RoleRequired
    async with caller_session(request, caller) as session:
        rows = await tickets.list_tickets(
            session,
            requester_id=None if queue else caller.account_id,
            state=state,
            assignee_id=assignee_id,
            after=paging.after(datetime, UUID),
            limit=paging.limit,
        )
    people = await _people(request, caller, rows)

    def show(row: Mapping[str, Any]) -> dict[str, Any]:
        shown = dict(row)
        shown["requester"] = people[shown.pop("requester_id")].model_dump()
        assignee_id = shown.pop("assignee_id")
        return {**shown, "assignee": people[assignee_id].model_dump() if assignee_id else None}

    return paging.answer(rows, lambda row: (row["created_at"], row["id"]), show)


@router.get("/tickets/{ticket_id}", summary="One ticket", responses=declared(TicketNotFound))
async def get_ticket(request: Request, ticket_id: UUID, caller: CurrentCaller, response: Response) -> TicketOut:
    async with caller_session(request, caller) as session:
        ticket = await tickets.get_ticket(session, caller, ticket_id)
    set_etag(response, ticket.version)
    return await _show_ticket(request, caller, ticket)


@router.patch(
    "/tickets/{ticket_id}",
    dependencies=STAFF,
    summary="Change state, priority, category or place",
    responses=declared(TicketNotFound, StateNotAllowed, RoleRequired, *MATCH),
)
async def change_ticket(
    request: Request,
    ticket_id: UUID,
    body: TicketPatch,
    caller: CurrentCaller,
    response: Response,
    if_match: IfMatch = None,
) -> TicketOut:
    async with caller_session(request, caller) as session:
        changes = body.model_dump(exclude_unset=True, exclude_none=True)
        ticket = await tickets.change_ticket(
            session, caller, ticket_id, changes=changes, if_match=if_match, now=utc_now()
        )
    set_etag(response, ticket.version)
    return await _show_ticket(request, caller, ticket)


@router.put(
    "/tickets/{ticket_id}/assignment",
    dependencies=STAFF,
    summary="Assign a ticket",
    responses=declared(TicketNotFound, NotStaff, RoleRequired, *MATCH),
)
async def assign(
    request: Request,
    ticket_id: UUID,
    body: AssignmentIn,
    caller: CurrentCaller,
    response: Response,
    if_match: IfMatch = None,
) -> TicketOut:
    if body.assignee_id is not None:
        await check_staff(request.app.state.service.internal, caller, body.assignee_id)
    async with caller_session(request, caller) as session:
        ticket = await tickets.assign(session, caller, ticket_id, assignee_id=body.assignee_id, if_match=if_match)
    set_etag(response, ticket.version)
    return await _show_ticket(request, caller, ticket)


@router.get("/tickets/{ticket_id}/replies", summary="The conversation", responses=declared(TicketNotFound))
async def list_replies(request: Request, ticket_id: UUID, caller: CurrentCaller) -> list[WordsOut]:
    async with caller_session(request, caller) as session:
        replies = await words.list_replies(session, caller, ticket_id)
    return await _show_words(request, caller, replies)


@router.post(
    "/tickets/{ticket_id}/replies",
    status_code=201,
    summary="Reply publicly",
    responses=declared(TicketNotFound, RequesterErased, TicketClosed),
)
async def add_reply(request: Request, ticket_id: UUID, body: WordsIn, caller: CurrentCaller) -> WordsOut:
    async with caller_session(request, caller) as session:
        reply = await words.add_reply(session, caller, ticket_id, body=body.body, now=utc_now())
    (shown,) = await _show_words(request, caller, [reply])
    return shown


@router.get(
    "/tickets/{ticket_id}/notes",
    dependencies=STAFF,
    summary="The staff's notes",
    responses=declared(TicketNotFound, RoleRequired),
)
async def list_notes(request: Request, ticket_id: UUID, caller: CurrentCaller) -> list[WordsOut]:
    async with caller_session(request, caller) as session:
        notes = await words.list_notes(session, caller, ticket_id)
    return await _show_words(request, caller, notes)


@router.post(
    "/tickets/{ticket_id}/notes",
    status_code=201,
    dependencies=STAFF,
    summary="Write a note for the staff",
    responses=declared(TicketNotFound, RequesterErased, RoleRequired),
)
async def add_note(request: Request, ticket_id: UUID, body: WordsIn, caller: CurrentCaller) -> WordsOut:
    async with caller_session(request, caller) as session:
        note = await words.add_note(session, caller, ticket_id, body=body.body)
    (shown,) = await _show_words(request, caller, [note])
    return shown


@router.post(
    "/tickets/{ticket_id}/attachments",
    status_code=201,
    summary="Attach a picture, a PDF or a text of up to 10 MB",
    responses=declared(TicketNotFound, RequesterErased, UploadExpired, AttachmentTooLarge, AttachmentKindNotAllowed),
    max_body_size=MAX_BYTES + 64 * 1024,
)
async def attach(request: Request, ticket_id: UUID, file: UploadFile, caller: CurrentCaller) -> AttachmentOut:
    async with caller_session(request, caller) as session:
        await tickets.get_ticket(session, caller, ticket_id)
    content, media_type = await asyncio.to_thread(cleaned, await file.read())
    files = request.app.state.service.files
    async with caller_session(request, caller) as session:
        key = await words.begin_upload(session, caller, ticket_id)
    try:
        await files.put(key, content)
        async with caller_session(request, caller) as session:
            name = PurePath(file.filename or "file").name[:100]
            attachment = await words.attach(
                session, caller, ticket_id, name=name, key=key, media_type=media_type, size_bytes=len(content)
            )
    except BaseException:
        # Looked up, not admitted: a commit may have gone through all the same, and an erasure may have taken the row
        # that leads to the file. What an upload still leads to is left to the sweep.
        async with request.app.state.service.database.transaction(caller.tenant_id) as session:
            is_noted = await words.is_noted(session, ticket_id, key)
        if not is_noted:
            await files.delete(key)
        raise
    return AttachmentOut.model_validate(attachment)


@router.get("/tickets/{ticket_id}/attachments", summary="A ticket's files", responses=declared(TicketNotFound))
async def list_attachments(ticket_id: UUID, caller: CurrentCaller, session: Session) -> list[AttachmentOut]:
    found = await words.list_attachments(session, caller, ticket_id)
    return [AttachmentOut.model_validate(one) for one in found]


@router.get("/attachments/{attachment_id}", summary="A file", responses=declared(AttachmentNotFound))
async def get_attachment(request: Request, attachment_id: UUID, caller: CurrentCaller) -> Response:
    async with caller_session(request, caller) as session:
        attachment = await words.get_attachment(session, caller, attachment_id)
    content = await request.app.state.service.files.get(attachment.key)
    headers = {"Content-Disposition": "attachment", "Cache-Control": "private, no-store"}
    return Response(content, media_type=attachment.media_type, headers=headers)


async def _show_ticket(request: Request, caller: Caller, ticket: Ticket) -> TicketOut:
    (shown,) = await _show(request, caller, [{name: getattr(ticket, name) for name in tickets.SHOWN}])
    return shown


async def _show(request: Request, caller: Caller, shown: Sequence[Mapping[Any, Any]]) -> list[TicketOut]:
    people = await _people(request, caller, shown)
    return [
        TicketOut(
            requester=people[one["requester_id"]],
            assignee=people[one["assignee_id"]] if one["assignee_id"] else None,
            **{name: value for name, value in one.items() if name not in ("requester_id", "assignee_id")},
        )
        for one in shown
    ]


async def _people(request: Request, caller: Caller, shown: Sequence[Mapping[Any, Any]]) -> dict[UUID | None, PersonOut]:
    accounts = {one["requester_id"] for one in shown} | {one["assignee_id"] for one in shown}
    return await find_people(request.app.state.service.internal, caller.tenant_id, accounts, language_of(request))


async def _show_words(request: Request, caller: Caller, shown: Sequence[Reply | Note]) -> list[WordsOut]:
    accounts = {one.author_id for one in shown}
    people = await find_people(request.app.state.service.internal, caller.tenant_id, accounts, language_of(request))
    return [
        WordsOut(
            id=one.id,
            author=people[one.author_id],
            by_staff=one.by_staff if isinstance(one, Reply) else True,
            body=one.body,
            created_at=one.created_at,
        )
        for one in shown
    ]
