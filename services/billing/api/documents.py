"""HTTP in: invoices, credit notes, payments."""

import asyncio
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.billing.actions import invoices, parties
from services.billing.chain import verify_chain
from services.billing.errors import CreditExceedsInvoice, DocumentNotFound
from services.billing.models import Claim, Document, DocumentKind, Payment
from services.billing.numbering import printed
from services.billing.pdf import print_document
from services.billing.schemas import ChainOut, CreditIn, DocumentOut, PaymentIn, PaymentOut
from shared.auth import Caller, CurrentCaller, RoleRequired, Session, caller_session, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import Page, Paging
from shared.idempotency import Idempotent
from shared.problems import declared

router = APIRouter(tags=["billing"])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]


@router.get("/documents", summary="Your invoices and credit notes; staff may ask for everybody's")
async def list_documents(
    caller: CurrentCaller, session: Session, paging: Paging, kind: DocumentKind | None = None, everybody: bool = False
) -> Page[DocumentOut]:
    if everybody and not caller.is_staff:
        raise RoleRequired
    party_id = None if everybody else await parties.find_party_id(session, caller.account_id)
    if party_id is None and not everybody:
        return Page(data=[])
    rows = await invoices.list_documents(
        session, kind=kind, party_id=party_id, after=paging.after(datetime, UUID), limit=paging.limit
    )
    shown, following = paging.page(rows, lambda row: (row[0].finalized_at, row[0].id))
    return Page(data=[_show(document, claim) for document, claim in shown], next_cursor=following)


@router.get("/documents/{document_id}", summary="One invoice or credit note", responses=declared(DocumentNotFound))
async def get_document(document_id: UUID, caller: CurrentCaller, session: Session) -> DocumentOut:
    document = await _visible(session, caller, document_id)
    claim = await session.get(Claim, document.id)
    return _show(document, claim)


@router.get(
    "/documents/{document_id}/pdf",
    summary="The printed document",
    responses={200: {"content": {"application/pdf": {}}}, **declared(DocumentNotFound)},
    response_class=Response,
)
async def get_pdf(request: Request, document_id: UUID, caller: CurrentCaller) -> Response:
    async with caller_session(request, caller) as session:
        document = await _visible(session, caller, document_id)
        invoice = await session.get(Document, document.invoice_id) if document.invoice_id else None
    credited = printed(invoice.kind, invoice.year, invoice.number) if invoice else None
    pdf = await asyncio.to_thread(print_document, document, credited=credited)
    name = printed(document.kind, document.year, document.number)
    headers = {"Content-Disposition": f'inline; filename="{name}.pdf"', "Cache-Control": "private, no-store"}
    return Response(pdf, media_type="application/pdf", headers=headers)


@router.post(
    "/documents/{document_id}/payments",
    status_code=201,
    dependencies=STAFF,
    summary="Note a payment",
    responses=declared(DocumentNotFound, RoleRequired),
)
async def record_payment(
    document_id: UUID, body: PaymentIn, caller: CurrentCaller, session: Session, once: Idempotent
) -> PaymentOut:
    invoice = await _invoice(session, document_id)
    payment = await once(
        lambda: invoices.record_payment(session, invoice, **body.model_dump()),
        lambda made: session.get_one(Payment, made),
    )
    return PaymentOut.model_validate(payment)


@router.post(
    "/documents/{document_id}/credit-notes",
    status_code=201,
    dependencies=STAFF,
    summary="Credit an invoice, in part or whole",
    responses=declared(DocumentNotFound, CreditExceedsInvoice, RoleRequired),
)
async def issue_credit_note(
    document_id: UUID, body: CreditIn, caller: CurrentCaller, session: Session, once: Idempotent
) -> DocumentOut:
    invoice = await _invoice(session, document_id)
    note = await once(
        lambda: invoices.issue_credit_note(
            session, invoice, amount_minor=body.amount_minor, reason=body.reason, now=utc_now()
        ),
        lambda made: session.get_one(Document, made),
    )
    return _show(note, None)


@router.get("/chain", dependencies=STAFF, summary="Verify that no document was changed, added or removed")
async def check_chain(session: Session) -> ChainOut:
    return ChainOut.model_validate(await verify_chain(session))


async def _invoice(session: Session, document_id: UUID) -> Document:
    document = await invoices.get_document(session, document_id, party_id=None)
    if document.kind is not DocumentKind.INVOICE:
        raise DocumentNotFound
    return document


async def _visible(session: Session, caller: Caller, document_id: UUID) -> Document:
    """The caller's own document, or anybody's for staff."""
    if caller.is_staff:
        return await invoices.get_document(session, document_id, party_id=None)
    party_id = await parties.find_party_id(session, caller.account_id)
    if party_id is None:
        raise DocumentNotFound
    return await invoices.get_document(session, document_id, party_id=party_id)


def _show(document: Document, claim: Claim | None) -> DocumentOut:
    derived = ("number", "open_minor", "settled_on")
    plain = {name: getattr(document, name) for name in DocumentOut.model_fields if name not in derived}
    return DocumentOut.model_validate(
        {
            **plain,
            "number": printed(document.kind, document.year, document.number),
            "open_minor": claim.open_minor if claim else None,
            "settled_on": claim.settled_on if claim else None,
        }
    )
