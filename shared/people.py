"""Names for pages: one batched look-up at identity, and neutral words for whoever has no name to show."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from fastapi import Request
from pydantic import Field

from shared.events.identity import Language
from shared.http import Out
from shared.internal import Internal
from shared.privacy.hooks import Store
from shared.problems import BadGateway

# Whoever is erased, unknown, or has left the directory; and anybody while identity does not answer.
FORMER_MEMBER = {Language.FR: "ancien membre", Language.EN: "former member"}
A_MEMBER = {Language.FR: "un membre", Language.EN: "a member"}
MAX_IDS = 200
# A page that is read again and again asks once a second; whoever is erased is nameless long before the five seconds
# in which they must be refused everywhere.
NAME_SECONDS = 1.0
REMEMBERED_NAMES = Store("names on pages", "names that pages show, in memory", "forgotten after one second", 1)

Label = dict[str, str | None]
# What identity has just said of (tenant, account); None for somebody it does not know.
_remembered: WeakKeyDictionary[Internal, dict[tuple[UUID, UUID], Label | None]] = WeakKeyDictionary()


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
    labels = _recalled(internal, tenant_id, wanted)
    unknown = sorted(wanted - labels.keys())
    people: dict[UUID | None, PersonOut] = {None: PersonOut(id=None, name=FORMER_MEMBER[language])}
    for start in range(0, len(unknown), MAX_IDS):
        batch = unknown[start : start + MAX_IDS]
        try:
            labels |= await _asked(internal, tenant_id, batch)
        except BadGateway:
            people |= {one: PersonOut(id=one, name=A_MEMBER[language]) for one in batch}
    return people | {one: _person(one, label, language) for one, label in labels.items()}


def _person(account_id: UUID, label: Label | None, language: Language) -> PersonOut:
    name = label["text"] if label else None
    return PersonOut(id=account_id, name=name) if name else PersonOut(id=None, name=FORMER_MEMBER[language])


def _recalled(internal: Internal, tenant_id: UUID, ids: Iterable[UUID]) -> dict[UUID, Label | None]:
    names = _remembered.get(internal, {})
    return {one: names[tenant_id, one] for one in ids if (tenant_id, one) in names}


async def _asked(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> dict[UUID, Label | None]:
    """Ask identity, and remember what it says for NAME_SECONDS."""
    loop = asyncio.get_running_loop()
    # Counted from the question: an erasure may come between it and its answer.
    until = loop.time() + NAME_SECONDS
    answer = await _labels(internal, tenant_id, ids)
    labels = {one: answer.get(str(one)) for one in ids}
    names = _remembered.setdefault(internal, {})
    names.update({(tenant_id, one): label for one, label in labels.items()})
    loop.call_at(until, _forget, names, [(tenant_id, one) for one in ids])
    return labels


def _forget(names: dict[tuple[UUID, UUID], Any], keys: list[tuple[UUID, UUID]]) -> None:
    for key in keys:
        names.pop(key, None)


async def find_mentionable(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> set[UUID]:
    """Return those of `ids` who are in the directory and may be mentioned. Raises BadGateway."""
    labels = await _labels(internal, tenant_id, ids)
    # Only a member of the directory has a page to lead to.
    return {UUID(one) for one, label in labels.items() if label["url"] is not None}


async def _labels(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> dict[str, Label]:
    answer = await internal.post("identity", "labels", {"ids": [str(one) for one in ids]}, tenant_id=tenant_id)
    labels: dict[str, Label] = answer["labels"]
    return labels
