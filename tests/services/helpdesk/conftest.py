"""A help desk with its manager Maud and the members Ada, Ben and Nora, who asks to be forgotten."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from services.helpdesk.app import create_service
from services.helpdesk.settings import Settings
from shared.events.identity import Role
from tests.support.testing import Person, ServiceUnderTest


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


@pytest.fixture(scope="session")
async def helpdesk(start: Any) -> ServiceUnderTest:
    return await start("helpdesk", create_service, Settings)


@pytest.fixture
async def desk(helpdesk: ServiceUnderTest) -> Desk:
    tenant = await helpdesk.tenant()
    members = [helpdesk.person(tenant) for _ in range(3)]
    return Desk(helpdesk, tenant, helpdesk.person(tenant, Role.MANAGER), *members)
