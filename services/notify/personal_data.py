"""What the marks cannot say: mails shown on the outbox page of the embedded mode."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.notify.outbox import OUTBOX
from shared.privacy.hooks import PersonalData, Store


async def forget_shown_mails(session: AsyncSession, accounts: Sequence[UUID], is_tenant: bool) -> None:
    """Memory first: if the erasure rolls back, the page has merely lost some mails."""
    OUTBOX.forget(set(accounts))


PERSONAL_DATA = PersonalData(
    before_erasure=forget_shown_mails,
    stores=(Store("outbox page", "mails sent in embedded mode, in memory", "dropped by account at erasure", 1),),
)
