"""A member's own profile: read, replaced as a whole, its picture put and taken away."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.models import Account, Profile
from services.identity.spelling import plain
from shared.db import uuid7, wake_after_commit
from shared.privacy.tables import file_deletions


async def get_profile(session: AsyncSession, account_id: UUID, *, for_update: bool = False) -> tuple[Account, Profile]:
    """Return somebody's account and profile."""
    wanted = select(Account, Profile).join(Profile, Profile.account_id == Account.id).where(Account.id == account_id)
    row = (await session.execute(wanted.with_for_update() if for_update else wanted)).one()
    return row.Account, row.Profile


async def replace_profile(session: AsyncSession, account: Account, profile: Profile, fields: Mapping[str, Any]) -> None:
    """Set every field of the profile; an empty text deletes the field's content."""
    for name, value in fields.items():
        setattr(account if name == "language" else profile, name, value)
    profile.version += 1
    _index(profile)
    await session.flush()


async def put_picture(session: AsyncSession, profile: Profile, key: str | None) -> None:
    """Show the stored picture `key` (None: no picture); the former file goes after the commit."""
    if profile.picture_key is not None:
        await session.execute(insert(file_deletions).values(path=profile.picture_key))
        wake_after_commit(session, "delete_erased_files")
    profile.picture_key = key
    profile.version += 1
    await session.flush()


def new_picture_key(tenant_id: UUID) -> str:
    return f"{tenant_id}/{uuid7()}.webp"


def _index(profile: Profile) -> None:
    """What is hidden is not found either."""
    shown = {
        "name": profile.full_name,
        "position": profile.position,
        "department": profile.department,
        "skills": " ".join(profile.skills),
    }
    profile.search_text = plain(" ".join(text for field, text in shown.items() if field not in profile.hidden_fields))
    profile.sort_name = (
        plain(f"{profile.last_name} {profile.first_name}") if "name" not in profile.hidden_fields else ""
    )
