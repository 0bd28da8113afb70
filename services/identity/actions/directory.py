"""The members directory, and names for other services. Who opted out, or is leaving, is in neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, and_, any_, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.tenants import get_settings
from services.identity.errors import UnknownAccount
from services.identity.models import Account, AccountState, Profile
from services.identity.spelling import plain
from shared.events.identity import Language

# pg_trgm's word similarity from which a misspelt word still finds its member.
SIMILAR = 0.5
NEUTRAL = {Language.FR: "Membre", Language.EN: "Member"}


async def search_members(
    session: AsyncSession,
    *,
    query: str | None,
    skill: str | None,
    department: str | None,
    limit: int,
    after: tuple[Any, ...] | None,
) -> Sequence[tuple[Account, Profile]]:
    """Return listed members by name; every word of `query` must be in, or nearly in, what they show."""
    wanted = _listed().order_by(Profile.sort_name, Profile.account_id).limit(limit)
    for word in plain(query or "").split():
        near = func.word_similarity(word, Profile.search_text) >= SIMILAR
        wanted = wanted.where(or_(Profile.search_text.contains(word, autoescape=True), near))
    if skill:
        skills = func.string_to_array(func.lower(func.array_to_string(Profile.skills, "\n")), "\n", type_=ARRAY(Text))
        wanted = wanted.where(_shows("skills"), literal(skill.lower()) == any_(skills))
    if department:
        wanted = wanted.where(_shows("department"), func.lower(Profile.department) == department.lower())
    if after is not None:
        wanted = wanted.where(tuple_(Profile.sort_name, Profile.account_id) > after)
    return [(row.Account, row.Profile) for row in await session.execute(wanted)]


async def get_member(session: AsyncSession, account_id: UUID) -> tuple[Account, Profile]:
    """Return a listed member. Raises UnknownAccount, also for one who is not listed."""
    row = (await session.execute(_listed().where(Account.id == account_id))).one_or_none()
    if row is None:
        raise UnknownAccount
    return row.Account, row.Profile


@dataclass(frozen=True, slots=True)
class Label:
    """How an account appears to others: only a listed one has a page."""

    text: str
    is_listed: bool


async def label_members(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Label]:
    """Return, for those of `ids` that are accounts, the name they show; else "Member" in the tenant's language."""
    columns = select(
        Account.id, Account.state, Profile.first_name, Profile.last_name, Profile.in_directory, Profile.hidden_fields
    )
    members = columns.join(Profile, Profile.account_id == Account.id).where(Account.id.in_(ids))
    neutral = NEUTRAL[(await get_settings(session)).default_language]
    labels: dict[UUID, Label] = {}
    for row in await session.execute(members):
        is_listed = row.state is AccountState.ACTIVE and row.in_directory
        name = f"{row.first_name} {row.last_name}".strip()
        is_named = is_listed and "name" not in row.hidden_fields and name
        labels[row.id] = Label(name if is_named else neutral, is_listed)
    return labels


def _listed() -> Select[Account, Profile]:
    members = select(Account, Profile).join(Profile, Profile.account_id == Account.id)
    return members.where(and_(Account.state == AccountState.ACTIVE, Profile.in_directory))


def _shows(field: str) -> Any:
    return ~Profile.hidden_fields.contains([field])
