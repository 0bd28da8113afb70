"""HTTP in: invoices and credit notes, payments and refunds."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from services.billing.actions import credit_notes, documents, parties, payments
from services.billing.api.scope import check_everybody, visible_party_id
from services.billing.chain import verify_chain
from services.billing.crediting import reason_of
from services.billing.errors import BuyerErased, CreditExceedsInvoice, DocumentNotFound, RefundNotFound, RefundPaid
from services.billing.models import Claim, Document, DocumentKind, Payment
from services.billing.pdf import number_of, print_in_thread
from services.billing.schemas import (
    ChainOut,
    CreditIn,
    DocumentOut,
    LabelsIn,
    PaymentIn,
    PaymentOut,
    RefundOut,
    RefundPaymentIn,
)
from shared.auth import CurrentCaller, InternalSession, RoleRequired, Session, caller_session, calling_service, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import Page, Paging
from shared.idempotency import Idempotent
from shared.problems import declared

router = APIRouter(tags=["billing"])
internal = APIRouter(tags=["internal"], dependencies=[Depends(calling_service)])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]


@router.get(
    "/documents",
    summary="Your invoices and credit notes; staff may ask for everybody's",
    responses=declared(RoleRequired),
)
async def list_documents(
    caller: CurrentCaller, session: Session, paging: Paging, kind: DocumentKind | None = None, everybody: bool = False
) -> Page[DocumentOut]:
    check_everybody(caller, everybody=everybody)
    party_id = None if everybody else await parties.find_party_id(session, caller.account_id)
    if party_id is None and not everybody:
        return Page(data=[])
    rows = await documents.list_documents(
        session, kind=kind, party_id=party_id, after=paging.after(datetime, UUID), limit=paging.limit
    )
    shown, following = paging.page(rows, lambda row: (row[0].finalized_at, row[0].id))
    return Page(data=[_show(document, claim) for document, claim in shown], next_cursor=following)


@router.get("/documents/{document_id}", summary="One invoice or credit note", responses=declared(DocumentNotFound))
async def get_document(document_id: UUID, caller: CurrentCaller, session: Session) -> DocumentOut:
    party_id = await visible_party_id(session, caller, DocumentNotFound)
    document = await documents.get_document(session, document_id, party_id=party_id)
    return _show(document, await session.get(Claim, document.id))


@router.get(
    "/documents/{document_id}/pdf",
    summary="The printed document",
    responses={200: {"content": {"application/pdf": {}}}, **declared(DocumentNotFound)},
    response_class=Response,
)
async def get_pdf(request: Request, document_id: UUID, caller: CurrentCaller) -> Response:
    async with caller_session(request, caller) as session:
        party_id = await visible_party_id(session, caller, DocumentNotFound)
        document = await documents.get_document(session, document_id, party_id=party_id)
        credited = await session.get(Document, document.invoice_id) if document.invoice_id else None
    pdf = await print_in_thread(document, credited=credited)
    name = f'inline; filename="{number_of(document)}.pdf"'
    headers = {"Content-Disposition": name, "Cache-Control": "private, no-store"}
    return Response(pdf, media_type="application/pdf", headers=headers)


@router.post(
    "/documents/{document_id}/payments",
    status_code=201,
    dependencies=STAFF,
    summary="Note a payment",
    responses=declared(DocumentNotFound, BuyerErased, RoleRequired),
)
async def record_payment(document_id: UUID, body: PaymentIn, session: Session, once: Idempotent) -> PaymentOut:
    invoice = await documents.get_invoice(session, document_id)
    payment = await once(
        lambda: payments.record_payment(session, invoice, **body.model_dump()),
        lambda made: session.get_one(Payment, made),
    )
    return PaymentOut.model_validate(payment)


@router.get(
    "/documents/{document_id}/payments", summary="What was paid on an invoice", responses=declared(DocumentNotFound)
)
async def list_payments(document_id: UUID, caller: CurrentCaller, session: Session) -> list[PaymentOut]:
    party_id = await visible_party_id(session, caller, DocumentNotFound)
    invoice = await documents.get_document(session, document_id, party_id=party_id)
    return [PaymentOut.model_validate(payment) for payment in await payments.list_payments(session, invoice.id)]


@router.post(
    "/documents/{document_id}/credit-notes",
    status_code=201,
    dependencies=STAFF,
    summary="Credit an invoice, in part or whole",
    responses=declared(DocumentNotFound, CreditExceedsInvoice, RoleRequired),
)
async def issue_credit_note(document_id: UUID, body: CreditIn, session: Session, once: Idempotent) -> DocumentOut:
    invoice = await documents.get_invoice(session, document_id)
    note = await once(
        lambda: credit_notes.issue_credit_note(
            session, invoice, amount_minor=body.amount_minor, reason=body.reason, now=utc_now()
        ),
        lambda made: session.get_one(Document, made),
    )
    return _show(note, None)


@router.get(
    "/refunds",
    dependencies=STAFF,
    summary="What is to be given back, or was",
    responses=declared(RoleRequired),
)
async def list_refunds(session: Session, paging: Paging, due: bool = True) -> Page[RefundOut]:
    found = await credit_notes.list_refunds(session, due_only=due, after=paging.after(UUID), limit=paging.limit)
    shown, following = paging.page(found, lambda refund: (refund.credit_note_id,))
    return Page(data=[RefundOut.model_validate(refund) for refund in shown], next_cursor=following)


@router.put(
    "/refunds/{credit_note_id}/payment",
    dependencies=STAFF,
    summary="Note that a refund was paid out",
    responses=declared(RefundNotFound, RefundPaid, RoleRequired),
)
async def pay_refund(credit_note_id: UUID, body: RefundPaymentIn, session: Session) -> RefundOut:
    refund = await credit_notes.pay_refund(session, credit_note_id, paid_on=body.paid_on)
    return RefundOut.model_validate(refund)


@router.get(
    "/chain",
    dependencies=STAFF,
    summary="Verify that no document was changed, added or removed",
    responses=declared(RoleRequired),
)
async def check_chain(session: Session) -> ChainOut:
    return ChainOut.model_validate(await verify_chain(session))


@internal.post("/labels")
async def labels(body: LabelsIn, session: InternalSession) -> dict[str, dict[UUID, dict[str, str]]]:
    """Numbers of documents, for other services' pages; unknown ids are left out."""
    return {"labels": await documents.label_documents(session, body.ids)}


def _show(document: Document, claim: Claim | None) -> DocumentOut:
    derived = ("number", "reason", "open_minor", "settled_on")
    plain = {name: getattr(document, name) for name in DocumentOut.model_fields if name not in derived}
    return DocumentOut.model_validate(
        {
            **plain,
            "number": number_of(document),
            "reason": reason_of(document.lines),
            "open_minor": claim.open_minor if claim else None,
            "settled_on": claim.settled_on if claim else None,
        }
    )
