"""Names for pages: one batched look-up at identity, and neutral words for whoever has no name to show."""

import asyncio
from collections.abc import Iterable
from uuid import UUID
from weakref import WeakKeyDictionary

from fastapi import Request
from pydantic import Field

from shared.events.identity import Language
from shared.http import Out
from shared.internal import Internal
from shared.privacy.hooks import Store
from shared.problems import BadGateway
from shared.telemetry import NAMES_UNKNOWN

# Whoever is erased, unknown, or has left the directory; and anybody while identity does not answer.
FORMER_MEMBER = {Language.FR: "ancien membre", Language.EN: "former member"}
A_MEMBER = {Language.FR: "un membre", Language.EN: "a member"}
MAX_IDS = 200
# A page that is read again and again asks once a second; whoever is erased is nameless long before the five seconds
# in which they must be refused everywhere.
NAME_SECONDS = 1.0
REMEMBERED_NAMES = Store("names on pages", "names that pages show, in memory", "forgotten after one second", 1)

# What identity has just said of (tenant, account): a name, or None for somebody it does not know.
Names = dict[tuple[UUID, UUID], str | None]
_remembered: WeakKeyDictionary[Internal, Names] = WeakKeyDictionary()


class PersonOut(Out):
    """Somebody as pages show them; `id` is None for a former member."""

    id: UUID | None = Field(description="None once the person is erased")
    name: str


def language_of(request: Request) -> Language:
    """Return the language that the request prefers (fr or en; English unless French comes first)."""
    preferred = request.headers.get("accept-language", "").lower()[:2]
    return Language.FR if preferred == "fr" else Language.EN


async def find_people(
    internal: Internal, tenant_id: UUID, ids: Iterable[UUID | None], language: Language
) -> dict[UUID | None, PersonOut]:
    """Return how to show each of `ids`, with one call per MAX_IDS; never fails when identity is down.

    A name is NAME_SECONDS old at most.
    """
    wanted = {one for one in ids if one is not None}
    names = _remembered.setdefault(internal, {})
    people: dict[UUID | None, PersonOut] = {None: PersonOut(id=None, name=FORMER_MEMBER[language])}
    unknown = sorted(one for one in wanted if (tenant_id, one) not in names)
    labels = {one: names[tenant_id, one] for one in wanted.difference(unknown)}
    for start in range(0, len(unknown), MAX_IDS):
        batch = unknown[start : start + MAX_IDS]
        try:
            labels |= await _remember(names, internal, tenant_id, batch)
        except BadGateway:
            NAMES_UNKNOWN.labels(internal.service).inc(len(batch))
            people |= {one: PersonOut(id=one, name=A_MEMBER[language]) for one in batch}
    return people | {one: PersonOut(id=one, name=name) if name else people[None] for one, name in labels.items()}


async def _remember(names: Names, internal: Internal, tenant_id: UUID, ids: list[UUID]) -> dict[UUID, str | None]:
    """Ask identity, and remember what it says for NAME_SECONDS."""
    loop = asyncio.get_running_loop()
    # Counted from the question: an erasure may come between it and its answer.
    until = loop.time() + NAME_SECONDS
    labels = await _labels(internal, tenant_id, ids)
    found = {one: labels.get(str(one), {}).get("text") for one in ids}
    names.update({(tenant_id, one): name for one, name in found.items()})
    loop.call_at(until, lambda: [names.pop((tenant_id, one), None) for one in ids])
    return found


async def find_mentionable(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> set[UUID]:
    """Return those of `ids` who are in the directory and may be mentioned. Raises BadGateway."""
    labels = await _labels(internal, tenant_id, ids)
    # Only a member of the directory has a page to lead to.
    return {UUID(one) for one, label in labels.items() if label["url"] is not None}


async def _labels(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> dict[str, dict[str, str | None]]:
    answer = await internal.post("identity", "labels", {"ids": [str(one) for one in ids]}, tenant_id=tenant_id)
    return dict(answer["labels"])
