"""HTTP in: seller, price list, orders and quotes."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.billing.actions import orders, parties
from services.billing.errors import (
    AddressNotFound,
    MemberUnknown,
    PriceNotFound,
    QuoteAnswered,
    QuoteExpired,
    QuoteNotFound,
)
from services.billing.invoicing import NAMELESS, contact_of
from services.billing.models import OrderOrigin, Quote
from services.billing.numbering import printed
from services.billing.schemas import (
    AddressIn,
    AddressOut,
    OrderIn,
    OrderOut,
    PriceIn,
    PriceOut,
    PricePatch,
    QuoteAnswerIn,
    QuoteIn,
    QuoteOut,
    SellerIn,
)
from shared.auth import CurrentCaller, RoleRequired, Session, caller_session, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import IfMatch, set_etag
from shared.idempotency import Idempotent
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["billing"])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]
MATCH = (PreconditionFailed, PreconditionRequired)


@router.put(
    "/seller", dependencies=[requires(Role.ADMIN)], summary="Enter who sells", responses=declared(RoleRequired, *MATCH)
)
async def set_seller(body: SellerIn, session: Session, response: Response, if_match: IfMatch = None) -> dict[str, Any]:
    details = body.model_dump(exclude_none=True)
    seller = await parties.set_seller(session, details=details, if_match=if_match)
    set_etag(response, seller.version)
    return seller.details


@router.get("/billing-address", summary="Your private billing address", responses=declared(AddressNotFound))
async def get_address(caller: CurrentCaller, session: Session, response: Response) -> AddressOut:
    party = await parties.get_address(session, caller.account_id)
    set_etag(response, party.version)
    return AddressOut.model_validate(party)


@router.put("/billing-address", summary="Set or change your private billing address", responses=declared(*MATCH))
async def set_address(
    body: AddressIn, caller: CurrentCaller, session: Session, response: Response, if_match: IfMatch = None
) -> AddressOut:
    party = await parties.set_address(session, caller.account_id, address=body.model_dump(), if_match=if_match)
    set_etag(response, party.version)
    return AddressOut.model_validate(party)


@router.delete(
    "/billing-address",
    status_code=204,
    summary="Delete your private billing address",
    responses=declared(AddressNotFound, *MATCH),
)
async def delete_address(caller: CurrentCaller, session: Session, if_match: IfMatch = None) -> None:
    await parties.delete_address(session, caller.account_id, if_match=if_match)


@router.get("/prices", summary="The price list")
async def list_prices(_: CurrentCaller, session: Session) -> list[PriceOut]:
    return [PriceOut.model_validate(price) for price in await orders.list_prices(session)]


@router.post(
    "/prices", status_code=201, dependencies=STAFF, summary="Offer a product", responses=declared(RoleRequired)
)
async def add_price(body: PriceIn, session: Session, response: Response) -> PriceOut:
    price = await orders.add_price(session, **body.model_dump())
    set_etag(response, price.version)
    return PriceOut.model_validate(price)


@router.patch(
    "/prices/{price_id}", dependencies=STAFF, summary="Change a product", responses=declared(PriceNotFound, *MATCH)
)
async def change_price(
    price_id: UUID, body: PricePatch, session: Session, response: Response, if_match: IfMatch = None
) -> PriceOut:
    changes = body.model_dump(exclude_none=True)
    price = await orders.change_price(session, price_id, changes=changes, if_match=if_match)
    set_etag(response, price.version)
    return PriceOut.model_validate(price)


@router.post("/orders", status_code=201, summary="Buy from the price list", responses=declared(PriceNotFound))
async def place_order(body: OrderIn, caller: CurrentCaller, session: Session, once: Idempotent) -> OrderOut:
    async def buy() -> Any:
        currency, lines = await orders.priced_lines(session, [line.model_dump() for line in body.lines])
        return await orders.place_order(
            session, caller.account_id, origin=OrderOrigin.PURCHASE, currency=currency, lines=lines
        )

    async def load(order_id: UUID) -> Any:
        party_id = await parties.find_party_id(session, caller.account_id)
        return await orders.get_order(session, order_id, party_id=party_id)

    return OrderOut.model_validate(await once(buy, load))


@router.post(
    "/quotes",
    status_code=201,
    dependencies=STAFF,
    summary="Offer a quote to a member",
    responses=declared(PriceNotFound, MemberUnknown, RoleRequired),
)
async def issue_quote(request: Request, body: QuoteIn, caller: CurrentCaller, response: Response) -> QuoteOut:
    name, _ = await contact_of(request.app.state.service.internal, caller.tenant_id, body.account_id)
    if name == NAMELESS:
        raise MemberUnknown
    async with caller_session(request, caller) as session:
        currency, lines = await orders.priced_lines(session, [line.model_dump() for line in body.lines])
        quote = await orders.issue_quote(
            session,
            body.account_id,
            issued_by=caller.account_id,
            currency=currency,
            lines=lines,
            buyer_name=name,
            now=utc_now(),
        )
    set_etag(response, quote.version)
    return _show(quote)


@router.get("/quotes", summary="Your quotes; staff may ask for everybody's")
async def list_quotes(caller: CurrentCaller, session: Session, everybody: bool = False) -> list[QuoteOut]:
    if everybody and not caller.is_staff:
        raise RoleRequired
    party_id = None if everybody else await parties.find_party_id(session, caller.account_id)
    if party_id is None and not everybody:
        return []
    return [_show(quote) for quote in await orders.list_quotes(session, party_id=party_id, limit=100)]


@router.get("/quotes/{quote_id}", summary="One quote", responses=declared(QuoteNotFound))
async def get_quote(quote_id: UUID, caller: CurrentCaller, session: Session, response: Response) -> QuoteOut:
    party_id = await parties.find_party_id(session, caller.account_id)
    quote = await orders.get_quote(session, quote_id, party_id=party_id, is_staff=caller.is_staff)
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
    party_id = await parties.find_party_id(session, caller.account_id)
    quote = await orders.get_quote(session, quote_id, party_id=party_id)
    today = utc_now().date()
    await orders.answer_quote(session, caller.account_id, quote, accept=body.accept, if_match=if_match, today=today)
    set_etag(response, quote.version)
    return _show(quote)


def _show(quote: Quote) -> QuoteOut:
    plain = {name: getattr(quote, name) for name in QuoteOut.model_fields if name != "number"}
    return QuoteOut.model_validate({**plain, "number": printed("quote", quote.year, quote.number)})
