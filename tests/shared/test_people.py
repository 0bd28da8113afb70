"""Names on pages: asked once, remembered for a second at most."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web

from shared import people as remembered_names
from shared.events.identity import Language
from shared.internal import Internal
from shared.people import NAME_SECONDS, find_people
from tests.support.neighbour import identity_answering

TENANT = UUID(int=7)


class Identity:
    """Answers as identity's internal port does; `names` is whom it knows."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.asked = 0

    async def label(self, request: web.Request) -> web.Response:
        self.asked += 1
        ids = (await request.json())["ids"]
        labels = {one: {"text": self.names[one], "url": None} for one in ids if one in self.names}
        return web.json_response({"labels": labels})


@pytest.fixture
async def identity() -> AsyncIterator[tuple[Identity, Internal]]:
    identity = Identity()
    async with identity_answering("POST", "labels", identity.label) as internal:
        yield identity, internal


async def test_a_name_is_asked_once_a_second_and_an_erased_person_loses_it_within_one(identity: Any) -> None:
    service, internal = identity
    ada, nora = uuid4(), uuid4()
    service.names = {str(ada): "Ada", str(nora): "Nora"}

    async def shown(*ids: UUID) -> list[str]:
        people = await find_people(internal, TENANT, ids, Language.EN)
        return [people[one].name for one in ids]

    assert await shown(ada) == ["Ada"]
    assert await shown(ada, nora) == ["Ada", "Nora"]
    assert await shown(nora, ada) == ["Nora", "Ada"]
    assert service.asked == 2
    del service.names[str(nora)]
    await asyncio.sleep(NAME_SECONDS + 0.1)
    assert await shown(ada, nora) == ["Ada", "former member"]
    other = await find_people(internal, UUID(int=8), [ada], Language.EN)
    assert (other[ada].name, service.asked) == ("Ada", 4), "another space asks for itself"


async def test_what_is_remembered_is_dropped_though_nobody_asks_again(identity: Any) -> None:
    service, internal = identity
    ada = uuid4()
    service.names = {str(ada): "Ada"}
    await find_people(internal, TENANT, [ada], Language.EN)
    assert remembered_names._remembered[internal]
    await asyncio.sleep(NAME_SECONDS + 0.1)
    assert not remembered_names._remembered[internal]
