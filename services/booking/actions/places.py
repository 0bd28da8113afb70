"""What the operator offers: locations, opening hours, resources."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.booking.errors import LocationNotFound, ResourceNotFound, UnknownTimeZone
from services.booking.models import Closure, Location, OpeningPeriod, Resource
from shared.db import tenant_of
from shared.http import check_match


async def add_location(session: AsyncSession, *, name: str, address: str, time_zone: str) -> Location:
    """Raises UnknownTimeZone."""
    if time_zone not in available_timezones():
        raise UnknownTimeZone
    location = Location(tenant_id=tenant_of(session), name=name, address=address, time_zone=time_zone)
    session.add(location)
    await session.flush()
    return location


async def get_location(session: AsyncSession, location_id: UUID, *, lock: bool = False) -> Location:
    """Raises LocationNotFound. With `lock`, it stays as it is until the transaction ends."""
    location = await session.get(Location, location_id, with_for_update=lock or None)
    if location is None:
        raise LocationNotFound
    return location


async def list_locations(session: AsyncSession) -> Sequence[Location]:
    """Return every location of the tenant by name (a space has a handful)."""
    return (await session.execute(select(Location).order_by(Location.name, Location.id))).scalars().all()


async def replace_opening_hours(
    session: AsyncSession,
    location_id: UUID,
    *,
    periods: Sequence[dict[str, Any]],
    closed_on: Sequence[date],
    if_match: str | None,
) -> Location:
    """Set a location's week and closed days as a whole."""
    location = await get_location(session, location_id, lock=True)
    check_match(if_match, location.version)
    await session.execute(delete(OpeningPeriod).where(OpeningPeriod.location_id == location_id))
    await session.execute(delete(Closure).where(Closure.location_id == location_id))
    common = {"tenant_id": location.tenant_id, "location_id": location_id}
    session.add_all(OpeningPeriod(**common, **period) for period in periods)
    session.add_all(Closure(**common, on=day) for day in sorted(set(closed_on)))
    location.version += 1
    await session.flush()
    return location


async def add_resource(session: AsyncSession, *, location_id: UUID, **fields: Any) -> Resource:
    await get_location(session, location_id)
    resource = Resource(tenant_id=tenant_of(session), location_id=location_id, **fields)
    session.add(resource)
    await session.flush()
    return resource


async def get_resource(session: AsyncSession, resource_id: UUID, *, lock: bool = False) -> Resource:
    """Raises ResourceNotFound. With `lock`, it stays as it is until the transaction ends."""
    resource = await session.get(Resource, resource_id, with_for_update=lock or None)
    if resource is None:
        raise ResourceNotFound
    return resource


async def change_resource(
    session: AsyncSession, resource_id: UUID, *, changes: dict[str, Any], if_match: str | None
) -> Resource:
    """Change a resource's fields; reservations keep the price and the terms that were frozen on them."""
    resource = await get_resource(session, resource_id, lock=True)
    check_match(if_match, resource.version)
    for name, value in changes.items():
        setattr(resource, name, value)
    resource.version += 1
    await session.flush()
    return resource


async def list_resources(
    session: AsyncSession, *, location_id: UUID | None, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Resource]:
    """Return up to `limit + 1` resources by name, after a keyset position (name, id)."""
    statement = select(Resource).order_by(Resource.name, Resource.id).limit(limit + 1)
    if location_id is not None:
        statement = statement.where(Resource.location_id == location_id)
    if after is not None:
        name, id_ = after
        statement = statement.where((Resource.name > name) | ((Resource.name == name) & (Resource.id > id_)))
    return (await session.execute(statement)).scalars().all()
