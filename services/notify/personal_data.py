"""What the marks cannot say: mails shown on the outbox page of the embedded mode."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.notify.models import Recipient
from services.notify.outbox import OUTBOX
from shared.privacy.hooks import PersonalData, Store


async def forget_shown_mails(session: AsyncSession, accounts: Sequence[UUID]) -> None:
    """Memory first: if the erasure rolls back, the page has merely lost some mails."""
    OUTBOX.forget(set(accounts))


async def forget_mails_of_tenant(session: AsyncSession, held: Sequence[UUID]) -> None:
    """Who is held keeps no mail either: the page is a window, not a record."""
    OUTBOX.forget(set((await session.scalars(select(Recipient.account_id))).all()))


PERSONAL_DATA = PersonalData(
    before_erasure=forget_shown_mails,
    before_tenant_erasure=forget_mails_of_tenant,
    stores=(Store("outbox page", "mails sent in embedded mode, in memory", "dropped by account at erasure", 1),),
)
