"""The privacy policy: published versions that never change, and who has accepted which."""

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from functools import cache
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import case, exists, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.errors import PolicyNotFound, TenantNotFound
from services.privacy.models import Acceptance, Policy
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.privacy import PolicyPublished
from shared.privacy.tables import tenants

TEXTS = Path(__file__).parent.parent / "texts"


@cache
def default_text(language: str) -> str:
    """Return the policy that every space starts with: exactly what this product does."""
    return (TEXTS / f"policy.{language}.md").read_text()


async def publish_first_policy(session: AsyncSession, *, today: date) -> None:
    """Give a new tenant the default policy as version 1; one that has a policy keeps it."""
    if await session.scalar(select(func.count()).select_from(Policy)):
        return
    await publish_policy(
        session,
        body_fr=default_text("fr"),
        body_en=default_text("en"),
        effective_on=today,
        is_material=True,
        published_by=None,
    )


async def publish_policy(
    session: AsyncSession,
    *,
    body_fr: str,
    body_en: str,
    effective_on: date,
    is_material: bool,
    published_by: UUID | None,
) -> Policy:
    """Publish the next version; a material change asks everybody to accept again."""
    number = 1 + int(await session.scalar(select(func.coalesce(func.max(Policy.number), 0))) or 0)
    row = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "number": number,
        "effective_on": effective_on,
        "is_material": is_material,
        "body_fr": body_fr,
        "body_en": body_en,
        "sha256": hashlib.sha256(f"{body_fr}\0{body_en}".encode()).hexdigest(),
        "published_by": published_by,
    }
    policy = (await session.execute(insert(Policy).values(row).returning(Policy))).scalar_one()
    event = PolicyPublished(
        tenant_id=policy.tenant_id,
        policy_id=policy.id,
        version=number,
        is_material=is_material,
        effective_on=effective_on,
    )
    await publish(session, event, version=number)
    return policy


async def local_day(session: AsyncSession, now: datetime) -> date:
    """Return which day it is in the transaction's tenant at `now`."""
    zone = select(tenants.c.time_zone).where(tenants.c.tenant_id == tenant_of(session))
    return now.astimezone(ZoneInfo((await session.execute(zone)).scalar_one())).date()


async def get_policy(session: AsyncSession, number: int) -> Policy:
    """Return a version. Raises PolicyNotFound."""
    return _found(await session.scalar(select(Policy).where(Policy.number == number)))


async def policy_in_force(session: AsyncSession, *, today: date) -> Policy:
    """Return the latest version that has taken effect; before any has, the first one. Raises PolicyNotFound."""
    has_begun = Policy.effective_on <= today
    order = (has_begun.desc(), case((has_begun, -Policy.number), else_=Policy.number))
    return _found(await session.scalar(select(Policy).order_by(*order).limit(1)))


async def find_coming_policy(session: AsyncSession, in_force: Policy, *, today: date) -> Policy | None:
    """Return the version that takes effect next; None when none is announced."""
    later = select(Policy).where(Policy.number > in_force.number, Policy.effective_on > today)
    coming: Policy | None = await session.scalar(later.order_by(Policy.effective_on, Policy.number.desc()).limit(1))
    return coming


async def list_policies(session: AsyncSession) -> Sequence[Policy]:
    return (await session.execute(select(Policy).order_by(Policy.number.desc()))).scalars().all()


async def accept_policy(session: AsyncSession, account_id: UUID, policy: Policy) -> None:
    """Note that an account accepts a version; repeating it changes nothing."""
    row = {"tenant_id": policy.tenant_id, "policy_id": policy.id, "account_id": account_id}
    await session.execute(upsert(Acceptance).values(row).on_conflict_do_nothing())


async def must_accept(session: AsyncSession, account_id: UUID, *, today: date) -> bool:
    """Whether a material version has taken effect that the account has not accepted (nor a later one)."""
    accepted = (
        select(func.coalesce(func.max(Policy.number), 0))
        .join(Acceptance, Acceptance.policy_id == Policy.id)
        .where(Acceptance.account_id == account_id)
        .scalar_subquery()
    )
    due = exists().where(Policy.is_material, Policy.effective_on <= today, Policy.number > accepted)
    return bool(await session.scalar(select(due)))


async def tenant_by_slug(session: AsyncSession, slug: str) -> UUID:
    """Raises TenantNotFound."""
    found: UUID | None = await session.scalar(select(tenants.c.tenant_id).where(tenants.c.slug == slug))
    if found is None:
        raise TenantNotFound
    return found


def _found(policy: Policy | None) -> Policy:
    if policy is None:
        raise PolicyNotFound
    return policy
