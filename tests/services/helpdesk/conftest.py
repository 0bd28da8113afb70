"""A help desk with its manager Maud and the members Ada, Ben and Nora, who asks to be forgotten."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.helpdesk.app import create_service
from services.helpdesk.settings import Settings
from shared.auth import Caller
from shared.db import utc_now, uuid7
from shared.events.identity import AccountDeactivated, DeactivationReason, Role
from tests.support.testing import Person, ServiceUnderTest, wait_for


@dataclass
class Desk:
    helpdesk: ServiceUnderTest
    tenant: UUID
    maud: Person
    ada: Person
    ben: Person
    nora: Person

    async def ticket(self, requester: Person, subject: str = "Door code", **more: Any) -> str:
        made = await requester.post("/tickets", {"subject": subject, "body": "It refuses mine.", **more})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def attach(self, person: Person, ticket: str, content: bytes, *, name: str = "a.txt") -> httpx.Response:
        return await person.request("POST", f"/tickets/{ticket}/attachments", files={"file": (name, content)})

    async def erase(self, account_id: UUID) -> None:
        event = AccountDeactivated(
            tenant_id=self.tenant, account_id=account_id, case_id=uuid7(), reason=DeactivationReason.OWN_REQUEST
        )
        await self.helpdesk.receive(event)

    def caller(self, person: Person) -> Caller:
        return Caller(self.tenant, person.account_id, uuid7(), frozenset({Role.MEMBER}), utc_now(), False, utc_now())

    async def stored(self) -> set[str]:
        """Return the keys of all files that are in the store."""
        return {key async for key in self.helpdesk.service.files.keys(prefix="")}

    async def until_one_waits(self) -> None:
        """Return when a transaction waits for a lock."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await wait_for(lambda: self.helpdesk.rows(waiting), what="a transaction that waits")


@pytest.fixture(scope="session")
async def helpdesk(start: Any) -> ServiceUnderTest:
    return await start("helpdesk", create_service, Settings)


@pytest.fixture
async def desk(helpdesk: ServiceUnderTest) -> Desk:
    tenant = await helpdesk.tenant()
    members = [helpdesk.person(tenant) for _ in range(3)]
    return Desk(helpdesk, tenant, helpdesk.person(tenant, Role.MANAGER), *members)
