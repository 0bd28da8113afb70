"""What the marks cannot say: whoever goes leaves no ticket open."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.helpdesk.actions.tickets import close_open
from shared.db import utc_now
from shared.people import REMEMBERED_NAMES
from shared.privacy.hooks import PersonalData


async def close_open_tickets(session: AsyncSession, accounts: Sequence[UUID]) -> None:
    """Close their tickets while they still name them. A whole tenant leaves no staff whose queue they would stay in."""
    await close_open(session, accounts, now=utc_now())


PERSONAL_DATA = PersonalData(before_erasure=close_open_tickets, stores=(REMEMBERED_NAMES,))
