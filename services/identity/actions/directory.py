"""The members directory, and names for other services. Who opted out, or is leaving, is in neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, and_, any_, cast, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from services.identity.actions.tenants import get_settings
from services.identity.errors import UnknownAccount
from services.identity.models import Account, AccountState, Profile
from services.identity.spelling import plain
from shared.events.identity import Language

# So many are looked at by name before the index is asked: a word that many show makes a page of them.
NEXT_NAMES = 500
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
    """Return listed members by name, every word of `query` in what they show; where nobody is found, nearly in it."""
    words, shown = plain(query or "").split(), plain(f"{skill or ''} {department or ''}").split()
    search = _Search(session, skill, department, limit, after)
    if not words and not shown:
        return await search.members(Profile)
    beginning = await search.beginning(words)
    if len(beginning) == limit:
        return beginning
    return await search.indexed(words + shown, []) or await search.indexed(shown, words)


@dataclass(frozen=True, slots=True)
class _Search:
    """One page of the directory, and where it begins."""

    session: AsyncSession
    skill: str | None
    department: str | None
    limit: int
    after: tuple[Any, ...] | None

    async def beginning(self, words: Sequence[str]) -> Sequence[tuple[Account, Profile]]:
        """Return who is found among the next names: what many show is found there, and there is no need for all."""
        names = self._from(select(Profile), Profile).order_by(Profile.sort_name, Profile.account_id).limit(NEXT_NAMES)
        profile = aliased(Profile, names.subquery())
        return await self.members(profile, *(profile.search_text.contains(word, autoescape=True) for word in words))

    async def indexed(self, contained: Sequence[str], near: Sequence[str]) -> Sequence[tuple[Account, Profile]]:
        """Return who shows all words of `contained`, and all of `near` or nearly so: the index knows who they are."""
        ids = func.members_like(cast(contained, ARRAY(Text)), cast(near, ARRAY(Text))).column_valued("found")
        return await self.members(Profile, Profile.account_id.in_(select(ids)))

    async def members(self, profile: Any, *conditions: Any) -> Sequence[tuple[Account, Profile]]:
        wanted = self._from(_listed(profile).where(*conditions), profile)
        if self.skill:
            lowered = func.lower(func.array_to_string(profile.skills, "\n"))
            skills = func.string_to_array(lowered, "\n", type_=ARRAY(Text))
            wanted = wanted.where(_shows(profile, "skills"), literal(self.skill.lower()) == any_(skills))
        if self.department:
            is_there = func.lower(profile.department) == self.department.lower()
            wanted = wanted.where(_shows(profile, "department"), is_there)
        page = wanted.order_by(profile.sort_name, profile.account_id).limit(self.limit)
        return [(account, shown) for account, shown in await self.session.execute(page)]

    def _from(self, wanted: Select[Any], profile: Any) -> Select[Any]:
        if self.after is None:
            return wanted
        return wanted.where(tuple_(profile.sort_name, profile.account_id) > self.after)


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


def _listed(profile: Any = Profile) -> Select[Any]:
    members = select(Account, profile).join(profile, profile.account_id == Account.id)
    return members.where(and_(Account.state == AccountState.ACTIVE, profile.in_directory))


def _shows(profile: Any, field: str) -> Any:
    return ~profile.hidden_fields.contains([field])
