"""Whose documents a caller asks for: their own, or everybody's in the space for staff."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.parties import find_party_id
from shared.auth import Caller, RoleRequired
from shared.problems import NotFound


async def own_party_id(session: AsyncSession, caller: Caller, absent: type[NotFound]) -> UUID:
    """Return the caller's party. Raises `absent` when they have none, and so nothing that they could see."""
    party_id = await find_party_id(session, caller.account_id)
    if party_id is None:
        raise absent
    return party_id


async def visible_party_id(session: AsyncSession, caller: Caller, absent: type[NotFound]) -> UUID | None:
    """Return None for staff, who see everybody's, else the caller's party. Raises `absent`."""
    return None if caller.is_staff else await own_party_id(session, caller, absent)


def check_everybody(caller: Caller, *, everybody: bool) -> None:
    """Raises RoleRequired when somebody else than staff asks for everybody's."""
    if everybody and not caller.is_staff:
        raise RoleRequired
