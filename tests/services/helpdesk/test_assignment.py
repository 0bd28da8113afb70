"""A ticket is given to staff only, and identity says who that is."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from services.helpdesk.errors import NotStaff
from services.helpdesk.staff import check_staff
from shared.events.identity import Role
from shared.internal import Internal
from tests.support.neighbour import identity_answering


class Identity:
    """Answers as identity's internal port does: accounts by id, after one."""

    def __init__(self) -> None:
        self.roles: dict[UUID, list[Role]] = {}

    async def list_accounts(self, request: web.Request) -> web.Response:
        found = sorted(one for one in self.roles if one > UUID(request.query["after"]))[: int(request.query["limit"])]
        accounts = [{"id": str(one), "roles": self.roles[one], "language": "en"} for one in found]
        return web.json_response({"accounts": accounts})


@pytest.fixture
async def identity() -> AsyncIterator[tuple[Identity, Internal]]:
    identity = Identity()
    async with identity_answering("GET", "accounts", identity.list_accounts) as internal:
        yield identity, internal


async def test_nobody_but_staff_is_given_a_ticket(desk: Any, identity: Any) -> None:
    service, internal = identity
    stranger, alma, otto, ben = sorted(uuid4() for _ in range(4))
    service.roles = {alma: [Role.MEMBER, Role.ADMIN], otto: [Role.MANAGER], ben: [Role.MEMBER]}
    maud = desk.caller(desk.maud)
    for one in (alma, otto):
        await check_staff(internal, maud, one)
    for one in (ben, stranger, UUID(int=0)):
        with pytest.raises(NotStaff):
            await check_staff(internal, maud, one)


async def test_taking_a_ticket_asks_nobody_and_giving_it_needs_identity(desk: Any) -> None:
    url = f"/tickets/{await desk.ticket(desk.ada)}/assignment"
    taken = await desk.maud.put(url, {"assignee_id": str(desk.maud.account_id)}, etag="*")
    assert taken.status_code == 200, "identity is down here"
    assert (await desk.maud.put(url, {"assignee_id": str(desk.ben.account_id)}, etag="*")).status_code == 502
    assert (await desk.maud.put(url, {"assignee_id": None}, etag="*")).json()["assignee"] is None
