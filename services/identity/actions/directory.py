"""The members directory, and names for other services. Who opted out, or is leaving, is in neither."""

from collections.abc import Sequence
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


async def label_members(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, str | None]:
    """Return, for those of `ids` that are accounts, the name that others may see, else None."""
    wanted = select(
        Account.id, Account.state, Profile.first_name, Profile.last_name, Profile.in_directory, Profile.hidden_fields
    ).join(Profile, Profile.account_id == Account.id)
    rows = (await session.execute(wanted.where(Account.id.in_(ids)))).all()
    labels: dict[UUID, str | None] = {}
    for row in rows:
        is_shown = row.state is AccountState.ACTIVE and row.in_directory and "name" not in row.hidden_fields
        labels[row.id] = (f"{row.first_name} {row.last_name}".strip() or None) if is_shown else None
    return labels


async def neutral_label(session: AsyncSession) -> str:
    """Return what stands for a member who shows no name, in the tenant's language."""
    return NEUTRAL[(await get_settings(session)).default_language]


def _listed() -> Select[Account, Profile]:
    members = select(Account, Profile).join(Profile, Profile.account_id == Account.id)
    return members.where(and_(Account.state == AccountState.ACTIVE, Profile.in_directory))


def _shows(field: str) -> Any:
    return ~Profile.hidden_fields.contains([field])
