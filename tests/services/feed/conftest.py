"""A space's feed with its manager Maud and the members Ada, Ben and Nora, who asks to be forgotten."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from services.feed.app import create_service
from services.feed.settings import Settings
from shared.auth import Caller
from shared.db import utc_now, uuid7
from shared.events.identity import Role
from tests.support.testing import Person, ServiceUnderTest, wait_for


@dataclass
class Square:
    feed: ServiceUnderTest
    tenant: UUID
    maud: Person
    ada: Person
    ben: Person
    nora: Person

    async def post(self, author: Person, body: str) -> dict[str, Any]:
        made = await author.post("/posts", {"body": body})
        assert made.status_code == 201, made.text
        return {**made.json(), "etag": made.headers["etag"]}

    def caller(self, person: Person) -> Caller:
        return Caller(self.tenant, person.account_id, uuid7(), frozenset({Role.MEMBER}), utc_now(), False, utc_now())

    async def until_one_waits(self) -> None:
        """Return when a transaction waits for a lock."""
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await wait_for(lambda: self.feed.rows(waiting), what="a transaction that waits")


@pytest.fixture(scope="session")
async def feed(start: Any) -> ServiceUnderTest:
    return await start("feed", create_service, Settings)


@pytest.fixture
async def square(feed: ServiceUnderTest) -> Square:
    tenant = await feed.tenant()
    members = [feed.person(tenant) for _ in range(3)]
    return Square(feed, tenant, feed.person(tenant, Role.MANAGER), *members)
