"""What the steps of the compose test share: a project that is up, and its members as a client sees them."""

import asyncio
from typing import Any

import aiohttp

from deploy.demo.client import Client, MailboxClient, Member, Refused
from deploy.demo.seed import SLUG
from tests.compose.project import Project

DONE_SECONDS = 120


class Stage:
    """What the steps share."""

    def __init__(self, project: Project, session: aiohttp.ClientSession) -> None:
        self.project = project
        self.session = session
        self.gone: list[str] = []
        self.said: str = ""

    @property
    def client(self) -> Client:
        mailbox = f"http://127.0.0.1:{self.project.mailbox_port}"
        return MailboxClient(self.project.url, self.session, slug=SLUG, mailbox_url=mailbox)

    @property
    def password(self) -> str:
        return (self.project.secrets / "operator" / "COWORK_DEMO_PASSWORD").read_text()

    async def sign_in(self, email: str) -> Member:
        return await self.client.sign_in(email, self.password)

    async def refusal(self, email: str) -> int:
        """Return the status with which a sign-in is refused; 0 when it is not."""
        try:
            await self.sign_in(email)
        except Refused as error:
            return error.status
        return 0

    async def deactivate(self, email: str) -> str:
        """Return the case's id."""
        member = await self.sign_in(email)
        url = f"/identity/v1/accounts/{member.account_id}/deactivation"
        answer = await self.client.call("PUT", url, {"content": "remove"}, by=member)
        self.gone.append(email)
        return str(answer["case_id"])

    async def completed(self, case_id: str) -> dict[str, Any]:
        """Return the certificate once the case is completed."""
        async with asyncio.timeout(DONE_SECONDS):
            while True:
                try:
                    case = await self.client.call("GET", f"/privacy/v1/cases/{case_id}")
                except (Refused, aiohttp.ClientError):
                    case = {}
                if case.get("completed_at"):
                    break
                await asyncio.sleep(0.5)
        certificate: dict[str, Any] = await self.client.call("GET", f"/privacy/v1/cases/{case_id}/certificate")
        return certificate
