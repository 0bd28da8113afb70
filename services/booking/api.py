"""HTTP in: places for everybody to see, reservations for their owner and the staff."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from services.booking.actions import places, reservations, slots
from services.booking.actions.labels import label_reservations
from services.booking.errors import (
    AlreadyDecided,
    DurationNotAllowed,
    LocationNotFound,
    NotCancellable,
    OutsideOpeningHours,
    RequesterGone,
    RequestExpired,
    ReservationNotFound,
    ResourceNotFound,
    SlotTaken,
    TooFarAhead,
    TooLate,
    UnknownTimeZone,
)
from services.booking.schemas import (
    Day,
    Instant,
    LocationIn,
    LocationOut,
    OpeningHoursIn,
    PriceOut,
    ReservationIn,
    ReservationOut,
    ResourceIn,
    ResourceOut,
    ResourcePatch,
    SlotOut,
)
from shared.auth import CurrentCaller, InternalSession, RoleRequired, Session, calling_service, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import IfMatch, Page, Paging, columns_of, set_etag
from shared.idempotency import Idempotent
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["booking"])
internal = APIRouter(tags=["internal"], dependencies=[Depends(calling_service)])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]
MATCH = (PreconditionFailed, PreconditionRequired)


@router.get("/locations", summary="Places of this space")
async def list_locations(_: CurrentCaller, session: Session) -> list[LocationOut]:
    return [LocationOut.model_validate(one) for one in await places.list_locations(session)]


@router.post(
    "/locations",
    status_code=201,
    dependencies=STAFF,
    summary="Add a location",
    responses=declared(UnknownTimeZone, RoleRequired),
)
async def add_location(body: LocationIn, session: Session, response: Response) -> LocationOut:
    location = await places.add_location(session, **body.model_dump())
    set_etag(response, location.version)
    return LocationOut.model_validate(location)


@router.get("/locations/{location_id}", summary="One location", responses=declared(LocationNotFound))
async def get_location(location_id: UUID, _: CurrentCaller, session: Session, response: Response) -> LocationOut:
    location = await places.get_location(session, location_id)
    set_etag(response, location.version)
    return LocationOut.model_validate(location)


@router.put(
    "/locations/{location_id}/opening-hours",
    dependencies=STAFF,
    summary="Set a location's week and closed days",
    responses=declared(LocationNotFound, RoleRequired, *MATCH),
)
async def set_opening_hours(
    location_id: UUID, body: OpeningHoursIn, session: Session, response: Response, if_match: IfMatch = None
) -> LocationOut:
    periods = [period.model_dump() for period in body.periods]
    location = await places.replace_opening_hours(
        session, location_id, periods=periods, closed_on=body.closed_on, if_match=if_match
    )
    set_etag(response, location.version)
    return LocationOut.model_validate(location)


@router.get("/resources", summary="Rooms, desks and equipment")
async def list_resources(
    _: CurrentCaller, session: Session, paging: Paging, location_id: UUID | None = None
) -> Page[ResourceOut]:
    rows = await places.list_resources(
        session, location_id=location_id, after=paging.after(str, UUID), limit=paging.limit
    )
    shown, following = paging.page(rows, lambda row: (row.name, row.id))
    return Page(data=[ResourceOut.model_validate(row) for row in shown], next_cursor=following)


@router.post(
    "/resources",
    status_code=201,
    dependencies=STAFF,
    summary="Add a resource",
    responses=declared(LocationNotFound, RoleRequired),
)
async def add_resource(body: ResourceIn, session: Session, response: Response) -> ResourceOut:
    resource = await places.add_resource(session, **body.model_dump())
    set_etag(response, resource.version)
    return ResourceOut.model_validate(resource)


@router.get("/resources/{resource_id}", summary="One resource", responses=declared(ResourceNotFound))
async def get_resource(resource_id: UUID, _: CurrentCaller, session: Session, response: Response) -> ResourceOut:
    resource = await places.get_resource(session, resource_id)
    set_etag(response, resource.version)
    return ResourceOut.model_validate(resource)


@router.patch(
    "/resources/{resource_id}",
    dependencies=STAFF,
    summary="Change a resource",
    responses=declared(ResourceNotFound, RoleRequired, *MATCH),
)
async def change_resource(
    resource_id: UUID, body: ResourcePatch, session: Session, response: Response, if_match: IfMatch = None
) -> ResourceOut:
    changes = body.model_dump(exclude_none=True)
    resource = await places.change_resource(session, resource_id, changes=changes, if_match=if_match)
    set_etag(response, resource.version)
    return ResourceOut.model_validate(resource)


@router.get(
    "/resources/{resource_id}/availability", summary="Free slots of a local day", responses=declared(ResourceNotFound)
)
async def availability(resource_id: UUID, on: Day, _: CurrentCaller, session: Session) -> list[SlotOut]:
    resource = await places.get_resource(session, resource_id)
    return [SlotOut.model_validate(slot) for slot in await slots.free_on(session, resource, on, now=utc_now())]


@router.get(
    "/resources/{resource_id}/price",
    summary="What a slot costs: exactly what a reservation of it charges",
    responses=declared(ResourceNotFound, DurationNotAllowed),
)
async def preview_price(
    resource_id: UUID, starts_at: Instant, ends_at: Instant, _: CurrentCaller, session: Session
) -> PriceOut:
    resource = await places.get_resource(session, resource_id)
    slot = slots.Slot(starts_at, ends_at)
    slots.check_length(resource, slot)
    price = slots.price_of(resource, slot)
    return PriceOut(price_minor=price, currency=resource.currency, vat_rate_bp=resource.vat_rate_bp)


@router.get(
    "/reservations",
    response_model=Page[ReservationOut],
    summary="Your reservations; staff may ask for everybody's",
)
async def list_reservations(
    caller: CurrentCaller,
    session: Session,
    paging: Paging,
    everybody: bool = False,
    resource_id: UUID | None = None,
    since: Instant | None = None,
) -> Response:
    if everybody and not caller.is_staff:
        raise RoleRequired
    rows = await reservations.list_reservations(
        session,
        columns_of(ReservationOut),
        account_id=None if everybody else caller.account_id,
        resource_id=resource_id,
        since=since,
        after=paging.after(datetime, UUID),
        limit=paging.limit,
    )
    return paging.answer(rows, lambda row: (row["starts_at"], row["id"]))


@router.post(
    "/reservations",
    status_code=201,
    summary="Reserve a slot",
    responses=declared(ResourceNotFound, SlotTaken, DurationNotAllowed, TooLate, TooFarAhead, OutsideOpeningHours),
)
async def reserve(
    body: ReservationIn, caller: CurrentCaller, session: Session, once: Idempotent, response: Response
) -> ReservationOut:
    slot = slots.Slot(body.starts_at, body.ends_at)
    reservation = await once(
        lambda: reservations.reserve(
            session, caller, resource_id=body.resource_id, slot=slot, note=body.note, now=utc_now()
        ),
        lambda made: reservations.get_reservation(session, caller, made),
    )
    set_etag(response, reservation.version)
    return ReservationOut.model_validate(reservation)


@router.get("/reservations/{reservation_id}", summary="One reservation", responses=declared(ReservationNotFound))
async def get_reservation(
    reservation_id: UUID, caller: CurrentCaller, session: Session, response: Response
) -> ReservationOut:
    reservation = await reservations.get_reservation(session, caller, reservation_id)
    set_etag(response, reservation.version)
    return ReservationOut.model_validate(reservation)


@router.put(
    "/reservations/{reservation_id}/cancellation",
    summary="Cancel a reservation",
    responses=declared(ReservationNotFound, NotCancellable, *MATCH),
)
async def cancel(
    reservation_id: UUID, caller: CurrentCaller, session: Session, response: Response, if_match: IfMatch = None
) -> ReservationOut:
    reservation = await reservations.cancel(session, caller, reservation_id, if_match=if_match, now=utc_now())
    set_etag(response, reservation.version)
    return ReservationOut.model_validate(reservation)


class DecisionIn(BaseModel, extra="forbid"):
    approve: bool


@router.put(
    "/reservations/{reservation_id}/decision",
    dependencies=STAFF,
    summary="Confirm or deny a request",
    responses=declared(ReservationNotFound, AlreadyDecided, RequestExpired, RequesterGone, RoleRequired, *MATCH),
)
async def decide(
    reservation_id: UUID,
    body: DecisionIn,
    caller: CurrentCaller,
    session: Session,
    response: Response,
    if_match: IfMatch = None,
) -> ReservationOut:
    decided = await reservations.decide(
        session, caller, reservation_id, approve=body.approve, if_match=if_match, now=utc_now()
    )
    set_etag(response, decided.version)
    return ReservationOut.model_validate(decided)


class LabelsIn(BaseModel, extra="forbid"):
    ids: Annotated[list[UUID], Field(max_length=200)]


@internal.post("/labels")
async def labels(body: LabelsIn, session: InternalSession) -> dict[str, dict[UUID, dict[str, str]]]:
    """Texts for reservations, for other services' pages; unknown ids are left out."""
    return {"labels": await label_reservations(session, body.ids)}
