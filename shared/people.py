"""Names for pages: one batched look-up at identity, and neutral words for whoever has no name to show."""

from collections.abc import Iterable
from uuid import UUID

from fastapi import Request
from pydantic import Field

from shared.events.identity import Language
from shared.http import Out
from shared.internal import Internal
from shared.problems import BadGateway

# Whoever is erased, unknown, or has left the directory; and anybody while identity does not answer.
FORMER_MEMBER = {Language.FR: "ancien membre", Language.EN: "former member"}
A_MEMBER = {Language.FR: "un membre", Language.EN: "a member"}
MAX_IDS = 200


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
    """Return how to show each of `ids`, with one call per MAX_IDS; never fails when identity is down."""
    wanted = sorted({one for one in ids if one is not None})
    people: dict[UUID | None, PersonOut] = {None: PersonOut(id=None, name=FORMER_MEMBER[language])}
    for start in range(0, len(wanted), MAX_IDS):
        batch = wanted[start : start + MAX_IDS]
        try:
            labels = await _labels(internal, tenant_id, batch)
        except BadGateway:
            people |= {one: PersonOut(id=one, name=A_MEMBER[language]) for one in batch}
            continue
        for one in batch:
            name = labels.get(str(one), {}).get("text")
            known = PersonOut(id=one, name=name) if name else PersonOut(id=None, name=FORMER_MEMBER[language])
            people[one] = known
    return people


async def find_mentionable(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> set[UUID]:
    """Return those of `ids` who are in the directory and may be mentioned. Raises BadGateway."""
    labels = await _labels(internal, tenant_id, ids)
    # Only a member of the directory has a page to lead to.
    return {UUID(one) for one, label in labels.items() if label["url"] is not None}


async def _labels(internal: Internal, tenant_id: UUID, ids: list[UUID]) -> dict[str, dict[str, str | None]]:
    answer = await internal.post("identity", "labels", {"ids": [str(one) for one in ids]}, tenant_id=tenant_id)
    labels: dict[str, dict[str, str | None]] = answer["labels"]
    return labels
