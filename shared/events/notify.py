"""Published by notify."""

from enum import StrEnum
from uuid import UUID

from shared.bus.contracts import AccountId, Event, event


class MailOutcome(StrEnum):
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


@event("notify.link.settled.v1", key="link_id")
class LinkSettled(Event):
    """The mail that carries a link is sent or finally failed; a waiting deactivation goes on."""

    link_id: UUID
    account_id: AccountId
    outcome: MailOutcome
