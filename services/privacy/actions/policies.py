"""The privacy policy: published versions that never change, and who has accepted which."""

import hashlib
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, insert, select
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


async def get_policy(session: AsyncSession, number: int | None) -> Policy:
    """Return a version, or the latest for None. Raises PolicyNotFound."""
    statement = select(Policy).order_by(Policy.number.desc()).limit(1)
    if number is not None:
        statement = statement.where(Policy.number == number)
    policy = (await session.execute(statement)).scalar_one_or_none()
    if policy is None:
        raise PolicyNotFound
    return policy


async def list_policies(session: AsyncSession) -> Sequence[Policy]:
    return (await session.execute(select(Policy).order_by(Policy.number.desc()))).scalars().all()


async def accept_policy(session: AsyncSession, account_id: UUID, policy: Policy) -> None:
    """Note that an account accepts a version; repeating it changes nothing."""
    row = {"tenant_id": policy.tenant_id, "policy_id": policy.id, "account_id": account_id}
    await session.execute(upsert(Acceptance).values(row).on_conflict_do_nothing())


async def must_accept(session: AsyncSession, account_id: UUID) -> bool:
    """Whether a material version is in force that the account has not accepted (or a later one)."""
    accepted = (
        select(func.coalesce(func.max(Policy.number), 0))
        .join(Acceptance, Acceptance.policy_id == Policy.id)
        .where(Acceptance.account_id == account_id)
        .scalar_subquery()
    )
    due = select(func.count()).select_from(Policy).where(Policy.is_material, Policy.number > accepted)
    return bool(await session.scalar(due))


async def tenant_by_slug(session: AsyncSession, slug: str) -> UUID:
    """Raises TenantNotFound."""
    found: UUID | None = await session.scalar(select(tenants.c.tenant_id).where(tenants.c.slug == slug))
    if found is None:
        raise TenantNotFound
    return found
