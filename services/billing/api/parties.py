"""HTTP in: who sells, and the members' own billing addresses."""

from fastapi import APIRouter, Response

from services.billing.actions import parties
from services.billing.errors import AddressNotFound, SellerNotFound
from services.billing.schemas import AddressIn, AddressOut, SellerIn, SellerOut
from shared.auth import CurrentCaller, RoleRequired, Session, requires
from shared.events.identity import Role
from shared.http import IfMatch, set_etag
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["billing"])
MATCH = (PreconditionFailed, PreconditionRequired)


@router.get(
    "/seller",
    dependencies=[requires(Role.MANAGER, Role.ADMIN)],
    summary="Who sells",
    responses=declared(SellerNotFound, RoleRequired),
)
async def get_seller(session: Session, response: Response) -> SellerOut:
    seller = await parties.find_seller(session)
    if seller is None:
        raise SellerNotFound
    set_etag(response, seller.version)
    return SellerOut.model_validate(seller.details)


@router.put(
    "/seller", dependencies=[requires(Role.ADMIN)], summary="Enter who sells", responses=declared(RoleRequired, *MATCH)
)
async def set_seller(body: SellerIn, session: Session, response: Response, if_match: IfMatch = None) -> SellerOut:
    details = body.model_dump(exclude_none=True)
    seller = await parties.set_seller(session, details=details, if_match=if_match)
    set_etag(response, seller.version)
    return SellerOut.model_validate(seller.details)


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
