"""HTTP in: quotes, from the offer to the answer."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.billing.actions import parties, prices, quotes
from services.billing.api.scope import check_everybody, own_party_id, visible_party_id
from services.billing.errors import (
    AmountTooLarge,
    MemberUnknown,
    MixedCurrencies,
    PriceNotFound,
    QuoteAnswered,
    QuoteExpired,
    QuoteNotFound,
    ValidityPassed,
)
from services.billing.invoicing import NAMELESS, contact_of
from services.billing.models import Quote
from services.billing.numbering import printed
from services.billing.schemas import QuoteAnswerIn, QuoteIn, QuoteOut, RevisionIn
from shared.auth import CurrentCaller, RoleRequired, Session, caller_session, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import IfMatch, Page, Paging, set_etag
from shared.internal import ServiceDown
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["billing"])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]
MATCH = (PreconditionFailed, PreconditionRequired)
PRICED = (PriceNotFound, MixedCurrencies, AmountTooLarge, ValidityPassed, RoleRequired)


@router.post(
    "/quotes",
    status_code=201,
    dependencies=STAFF,
    summary="Offer a quote to a member",
    responses=declared(MemberUnknown, ServiceDown, *PRICED),
)
async def issue_quote(request: Request, body: QuoteIn, caller: CurrentCaller, response: Response) -> QuoteOut:
    name, _ = await contact_of(request.app.state.service.internal, caller.tenant_id, body.account_id)
    if name == NAMELESS:
        raise MemberUnknown
    async with caller_session(request, caller) as session:
        currency, lines = await prices.priced_lines(session, [line.model_dump() for line in body.lines])
        quote = await quotes.issue_quote(
            session,
            body.account_id,
            issued_by=caller.account_id,
            currency=currency,
            lines=lines,
            buyer_name=name,
            now=utc_now(),
            valid_until=body.valid_until,
        )
    set_etag(response, quote.version)
    return _show(quote)


@router.post(
    "/quotes/{quote_id}/revisions",
    status_code=201,
    dependencies=STAFF,
    summary="Replace an unanswered quote by its next revision",
    responses=declared(QuoteNotFound, MemberUnknown, QuoteAnswered, *PRICED, *MATCH),
)
async def revise_quote(
    quote_id: UUID,
    body: RevisionIn,
    caller: CurrentCaller,
    session: Session,
    response: Response,
    if_match: IfMatch = None,
) -> QuoteOut:
    quote = await quotes.lock_quote(session, quote_id, party_id=None, if_match=if_match)
    currency, lines = await prices.priced_lines(session, [line.model_dump() for line in body.lines])
    revision = await quotes.revise_quote(
        session,
        quote,
        issued_by=caller.account_id,
        currency=currency,
        lines=lines,
        now=utc_now(),
        valid_until=body.valid_until,
    )
    set_etag(response, revision.version)
    return _show(revision)


@router.get("/quotes", summary="Your quotes; staff may ask for everybody's", responses=declared(RoleRequired))
async def list_quotes(
    caller: CurrentCaller, session: Session, paging: Paging, everybody: bool = False
) -> Page[QuoteOut]:
    check_everybody(caller, everybody=everybody)
    party_id = None if everybody else await parties.find_party_id(session, caller.account_id)
    if party_id is None and not everybody:
        return Page(data=[])
    found = await quotes.list_quotes(session, party_id=party_id, after=paging.after(UUID), limit=paging.limit)
    shown, following = paging.page(found, lambda quote: (quote.id,))
    return Page(data=[_show(quote) for quote in shown], next_cursor=following)


@router.get("/quotes/{quote_id}", summary="One quote", responses=declared(QuoteNotFound))
async def get_quote(quote_id: UUID, caller: CurrentCaller, session: Session, response: Response) -> QuoteOut:
    party_id = await visible_party_id(session, caller, QuoteNotFound)
    quote = await quotes.get_quote(session, quote_id, party_id=party_id)
    set_etag(response, quote.version)
    return _show(quote)


@router.put(
    "/quotes/{quote_id}/answer",
    summary="Accept a quote, which orders it, or decline it",
    responses=declared(QuoteNotFound, QuoteAnswered, QuoteExpired, *MATCH),
)
async def answer_quote(
    quote_id: UUID,
    body: QuoteAnswerIn,
    caller: CurrentCaller,
    session: Session,
    response: Response,
    if_match: IfMatch = None,
) -> QuoteOut:
    # Also for staff: only whom it was offered to can accept it.
    party_id = await own_party_id(session, caller, QuoteNotFound)
    quote = await quotes.lock_quote(session, quote_id, party_id=party_id, if_match=if_match)
    if body.accept:
        await quotes.accept_quote(session, caller.account_id, quote, now=utc_now())
    else:
        await quotes.decline_quote(session, quote)
    set_etag(response, quote.version)
    return _show(quote)


def _show(quote: Quote) -> QuoteOut:
    plain = {name: getattr(quote, name) for name in QuoteOut.model_fields if name != "number"}
    return QuoteOut.model_validate({**plain, "number": printed("quote", quote.year, quote.number)})
