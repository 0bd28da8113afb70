"""A mail server on loopback that keeps what it is sent, and a client that reads its links there."""

from email.utils import parseaddr
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import AsyncMessage

from deploy.demo.client import LINK, Client
from tests.support.ports import free_port


class Postbox(AsyncMessage):
    """`start()` … `stop()`; `mails` holds every message, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=10)

    async def handle_message(self, message: Any) -> None:
        self.mails.append(message)

    def start(self) -> Self:
        self._controller.start()
        return self

    def stop(self) -> None:
        self._controller.stop()

    def newest_link(self, email: str, *, after: int = 0) -> str | None:
        """Return the link in the newest mail to an address, or None; the first `after` mails are not looked at."""
        for mail in reversed(self.mails[after:]):
            if parseaddr(mail["To"])[1] == email:
                text = mail.get_payload(0) if mail.is_multipart() else mail
                found = LINK.search(text.get_payload(decode=True).decode())
                if found is not None:
                    return found.group(0)
        return None


class PostboxClient(Client):
    """Opens mailed links from a postbox: where API and worker are two processes, the API has no outbox page to show."""

    def __init__(self, *arguments: Any, postbox: Postbox, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._postbox = postbox
        # A link opens once: who is mailed again waits for the next one.
        self._read: dict[str, int] = {}

    async def _newest_link(self, email: str) -> str | None:
        found = self._postbox.newest_link(email, after=self._read.get(email, 0))
        if found is not None:
            self._read[email] = len(self._postbox.mails)
        return found
