"""A mail handed to the mail server (RFC 6409); who fails after DATA says whether the server may have it nevertheless."""

from email.message import EmailMessage
from typing import Any

import aiosmtplib

from services.notify.settings import Settings

# For each answer of the server.
ANSWER_SECONDS = 15


class FateUnknown(Exception):
    """The server was given the mail and has not said what has become of it."""


class _Submission(aiosmtplib.SMTP):
    """From DATA until its answer nobody knows who has the mail; sent again, it may arrive twice (RFC 1047)."""

    is_undecided = False

    async def data(self, message: str | bytes, /, **more: Any) -> aiosmtplib.SMTPResponse:
        self.is_undecided = True
        try:
            answer = await super().data(message, **more)
        except aiosmtplib.SMTPResponseException as error:
            # Only a 4xx or 5xx leaves the mail with us: the library raises this for an answer that it cannot read, too.
            self.is_undecided = not 400 <= error.code < 600
            raise
        return answer


async def submit(mail: EmailMessage, settings: Settings) -> None:
    """Hand a mail over; on return, the server has taken it.

    Raises FateUnknown when it may have; SMTPException or OSError when it certainly has not: never reached, gone before
    DATA, or an answer that refuses sender, recipient or content.
    """
    password = settings.smtp_password
    client = _Submission(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_user,
        password=password.get_secret_value() if password else None,
        start_tls=settings.smtp_starttls,
        timeout=ANSWER_SECONDS,
    )
    try:
        async with client:
            await client.send_message(mail)
    except (aiosmtplib.SMTPException, OSError) as error:
        if client.is_undecided:
            raise FateUnknown from error
        raise
