"""HTTP in: the price list and what members buy from it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from services.billing.actions import orders, parties, prices, purchases
from services.billing.actions.purchases import Contact
from services.billing.api.scope import check_everybody, visible_party_id
from services.billing.errors import AmountTooLarge, MixedCurrencies, OrderNotFound, PriceNotFound
from services.billing.invoicing import find_contact
from services.billing.models import Order
from services.billing.schemas import OrderIn, OrderOut, PriceIn, PriceOut, PricePatch
from shared.auth import CurrentCaller, RoleRequired, Session, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import IfMatch, Page, Paging, set_etag
from shared.idempotency import Idempotent
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["billing"])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]
MATCH = (PreconditionFailed, PreconditionRequired)


async def _contact(request: Request, caller: CurrentCaller) -> Contact | None:
    return await find_contact(request.app.state.service.internal, caller.tenant_id, caller.account_id)


# Stands before the session in a route's parameters: identity is asked before the transaction begins.
BuyerContact = Annotated[Contact | None, Depends(_contact)]


@router.get(
    "/prices", summary="The price list; staff may ask for what is withdrawn, too", responses=declared(RoleRequired)
)
async def list_prices(caller: CurrentCaller, session: Session, withdrawn: bool = False) -> list[PriceOut]:
    if withdrawn and not caller.is_staff:
        raise RoleRequired
    return [PriceOut.model_validate(price) for price in await prices.list_prices(session, offered_only=not withdrawn)]


@router.post(
    "/prices", status_code=201, dependencies=STAFF, summary="Offer a product", responses=declared(RoleRequired)
)
async def add_price(body: PriceIn, session: Session, response: Response) -> PriceOut:
    price = await prices.add_price(session, **body.model_dump())
    set_etag(response, price.version)
    return PriceOut.model_validate(price)


@router.get("/prices/{price_id}", summary="One product", responses=declared(PriceNotFound))
async def get_price(price_id: UUID, _: CurrentCaller, session: Session, response: Response) -> PriceOut:
    price = await prices.get_price(session, price_id)
    set_etag(response, price.version)
    return PriceOut.model_validate(price)


@router.patch(
    "/prices/{price_id}",
    dependencies=STAFF,
    summary="Change or withdraw a product",
    responses=declared(PriceNotFound, RoleRequired, *MATCH),
)
async def change_price(
    price_id: UUID, body: PricePatch, session: Session, response: Response, if_match: IfMatch = None
) -> PriceOut:
    changes = body.model_dump(exclude_none=True)
    price = await prices.change_price(session, price_id, changes=changes, if_match=if_match)
    set_etag(response, price.version)
    return PriceOut.model_validate(price)


@router.post(
    "/orders",
    status_code=201,
    summary="Buy from the price list",
    responses=declared(PriceNotFound, MixedCurrencies, AmountTooLarge),
)
async def place_order(
    body: OrderIn, caller: CurrentCaller, contact: BuyerContact, session: Session, once: Idempotent
) -> OrderOut:
    wanted = [line.model_dump() for line in body.lines]
    made = await once(
        lambda: purchases.buy(session, caller.account_id, wanted, contact=contact, now=utc_now()),
        lambda order_id: purchases.get_purchase(session, order_id, party_id=None),
        made_id=lambda purchase: purchase.order.id,
    )
    return _show(made.order, made.invoice_id)


@router.get("/orders", summary="Your orders; staff may ask for everybody's", responses=declared(RoleRequired))
async def list_orders(
    caller: CurrentCaller, session: Session, paging: Paging, everybody: bool = False
) -> Page[OrderOut]:
    check_everybody(caller, everybody=everybody)
    party_id = None if everybody else await parties.find_party_id(session, caller.account_id)
    if party_id is None and not everybody:
        return Page(data=[])
    after = paging.after(datetime, UUID)
    found = await orders.list_orders(session, party_id=party_id, after=after, limit=paging.limit)
    shown, following = paging.page(found, lambda row: (row[0].created_at, row[0].id))
    return Page(data=[_show(order, invoice_id) for order, invoice_id in shown], next_cursor=following)


@router.get("/orders/{order_id}", summary="One order", responses=declared(OrderNotFound))
async def get_order(order_id: UUID, caller: CurrentCaller, session: Session) -> OrderOut:
    party_id = await visible_party_id(session, caller, OrderNotFound)
    found = await purchases.get_purchase(session, order_id, party_id=party_id)
    return _show(found.order, found.invoice_id)


def _show(order: Order, invoice_id: UUID | None) -> OrderOut:
    return OrderOut.model_validate(order).model_copy(update={"invoice_id": invoice_id})
