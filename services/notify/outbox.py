"""The console twin of the mail server: sent mails in memory, bounded, and gone with the account that they were for."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

KEPT = 300


@dataclass(frozen=True, slots=True)
class ShownMail:
    account_id: UUID
    sent_at: datetime
    to: str
    subject: str
    text: str


class OutboxPage:
    """Newest first. One per process; it never touches a disk."""

    def __init__(self) -> None:
        self._mails: deque[ShownMail] = deque(maxlen=KEPT)

    def add(self, mail: ShownMail) -> None:
        self._mails.appendleft(mail)

    def mails(self) -> list[ShownMail]:
        return list(self._mails)

    def forget(self, accounts: Collection[UUID]) -> None:
        """Drop every mail to these accounts."""
        kept = [mail for mail in self._mails if mail.account_id not in accounts]
        self._mails.clear()
        self._mails.extend(kept)


OUTBOX = OutboxPage()
