"""What identity does about others' events; erasing its own accounts is a reaction that every service shares."""

from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.deactivations import settle_mail
from shared.bus import Consumers
from shared.db import utc_now
from shared.events.notify import LinkSettled

consumers = Consumers("identity")


@consumers.on(LinkSettled)
async def command_announced_deactivation(session: AsyncSession, event: LinkSettled) -> None:
    await settle_mail(session, event.link_id, now=utc_now())
