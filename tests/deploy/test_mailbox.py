"""The demo's mail catcher: it takes what notify would send, shows it escaped, and hands out the newest link."""

from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiohttp
import aiosmtplib
import pytest

from deploy.demo.client import MailboxClient
from deploy.demo.mailbox import KEPT, Mailbox
from deploy.servers import HttpServer
from tests.support.ports import free_port


def mail(to: str, text: str, *, subject: str = "Welcome") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "cowork@example.com", to, subject
    made.set_content(text)
    made.add_alternative(f"<p>{text}</p>", subtype="html")
    return made


class Running:
    def __init__(self, smtp_port: int, url: str) -> None:
        self.smtp_port, self.url = smtp_port, url

    async def send(self, *mails: EmailMessage) -> None:
        for one in mails:
            await aiosmtplib.send(one, hostname="127.0.0.1", port=self.smtp_port, start_tls=False)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    port = free_port()
    mailbox = Mailbox(host="127.0.0.1", smtp_port=port)
    server = HttpServer(mailbox.app, host="127.0.0.1", port=0)
    mailbox.start()
    await server.start()
    yield Running(port, f"http://127.0.0.1:{server.port}")
    await server.stop()
    mailbox.stop()


async def test_mails_are_shown_newest_first_and_harmless(running: Running) -> None:
    await running.send(mail("ada@example.com", "Bonjour à tous"), mail("grace@example.com", "x", subject="<script>"))
    async with aiohttp.ClientSession() as session, session.get(running.url) as answer:
        page = await answer.text()
    assert page.index("grace@example.com") < page.index("ada@example.com")
    assert "Bonjour à tous" in page
    assert "<script>" not in page


async def test_the_newest_link_to_an_address_is_found(running: Running) -> None:
    link = "https://example.com/invitation?token={}"
    await running.send(
        mail("ada@example.com", link.format("old")),
        mail("ada@example.com", link.format("new")),
        mail("grace@example.com", link.format("other")),
    )
    async with aiohttp.ClientSession() as session:
        client = MailboxClient("http://127.0.0.1:9", session, slug="canal", mailbox_url=running.url)
        assert await client.mailed_token("ada@example.com") == "new"
        async with session.get(f"{running.url}/latest", params={"to": "nobody@example.com"}) as answer:
            assert answer.status == 404


async def test_memory_is_bounded(running: Running) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=running.smtp_port, start_tls=False) as smtp:
        for number in range(KEPT + 1):
            await smtp.send_message(mail("ada@example.com", f"mail {number}."))
    async with aiohttp.ClientSession() as session, session.get(running.url) as answer:
        page = await answer.text()
    assert f"mail {KEPT}." in page
    assert "mail 0." not in page
