"""Tenants: opening one, its settings, and its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.errors import SlugTaken, UnknownTenant, WrongConfirmation
from services.identity.models import Account, AccountState, TenantSettings
from services.identity.models.tenants import ADMIN_PASSWORD_DAYS
from shared.bus import publish
from shared.db import Database, enter_tenant, tenant_of
from shared.events.identity import Language, Role, TenantChanged, TenantDeactivated, TenantRegistered
from shared.privacy.tables import tenants

# One round trip finds the tenant and admits its rows.
_ENTER = text(
    "SELECT tenant_id, set_config('cowork.tenant', tenant_id::text, true) FROM tenants WHERE slug = :slug AND is_active"
)


@asynccontextmanager
async def tenant_transaction(database: Database, slug: str) -> AsyncIterator[AsyncSession]:
    """Open a transaction in the tenant that calls itself `slug`. Raises UnknownTenant, also once it is deactivated."""
    async with database.transaction() as session:
        row = (await session.execute(_ENTER, {"slug": slug})).one_or_none()
        if row is None:
            raise UnknownTenant
        session.info["tenant_id"] = row.tenant_id
        yield session


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What an operator says about a tenant."""

    slug: str
    name: str
    languages: list[Language]
    default_language: Language
    time_zone: str


async def open_tenant(session: AsyncSession, new: NewTenant) -> TenantSettings:
    """Make a tenant and put the transaction into it. Raises SlugTaken."""
    tenant_id = uuid4()
    row = {
        "tenant_id": tenant_id,
        "slug": new.slug,
        "languages": ",".join(new.languages),
        "default_language": new.default_language,
        "time_zone": new.time_zone,
    }
    taken = insert(tenants).values(row).on_conflict_do_nothing().returning(tenants.c.tenant_id)
    if (await session.execute(taken)).scalar() is None:
        raise SlugTaken
    await enter_tenant(session, tenant_id)
    settings = TenantSettings(
        tenant_id=tenant_id,
        slug=new.slug,
        name=new.name,
        languages=list(new.languages),
        default_language=new.default_language,
        time_zone=new.time_zone,
        password_rules={Role.ADMIN: {"expires_after_days": ADMIN_PASSWORD_DAYS}},
    )
    session.add(settings)
    await session.flush()
    await publish(session, TenantRegistered(**_announced(settings)), version=settings.version)
    return settings


async def get_settings(session: AsyncSession, *, for_update: bool = False) -> TenantSettings:
    """Return the settings of the transaction's tenant. Raises UnknownTenant."""
    settings = await session.get(
        TenantSettings, tenant_of(session), with_for_update=for_update or None, populate_existing=for_update
    )
    if settings is None:
        raise UnknownTenant
    return settings


async def change_settings(session: AsyncSession, settings: TenantSettings, changes: dict[str, Any]) -> None:
    """Apply `changes` (attribute → value) and tell the other services."""
    for name, value in changes.items():
        setattr(settings, name, value)
    settings.version += 1
    await session.flush()
    copy = {
        "languages": ",".join(settings.languages),
        "default_language": settings.default_language,
        "time_zone": settings.time_zone,
    }
    await session.execute(update(tenants).where(tenants.c.tenant_id == settings.tenant_id).values(copy))
    await publish(session, TenantChanged(**_announced(settings)), version=settings.version)


async def deactivate_tenant(session: AsyncSession, *, confirmation: str, now: datetime) -> UUID:
    """Pass the tenant's point of no return and return its case: nobody signs in any more, every service erases.

    `confirmation` is the tenant's slug, typed by the administrator. Raises WrongConfirmation.
    """
    settings = await get_settings(session, for_update=True)
    if confirmation != settings.slug:
        raise WrongConfirmation
    if settings.case_id is not None:
        return settings.case_id
    case_id = uuid4()
    settings.case_id, settings.deactivated_at = case_id, now
    settings.version += 1
    await session.flush()
    await session.execute(update(tenants).where(tenants.c.tenant_id == settings.tenant_id).values(is_active=False))
    count = await session.scalar(select(func.count()).where(Account.state != AccountState.UNVERIFIED)) or 0
    event = TenantDeactivated(tenant_id=settings.tenant_id, case_id=case_id, accounts=count)
    await publish(session, event, version=settings.version)
    return case_id


def _announced(settings: TenantSettings) -> dict[str, Any]:
    return {
        "tenant_id": settings.tenant_id,
        "slug": settings.slug,
        "languages": settings.languages,
        "default_language": settings.default_language,
        "time_zone": settings.time_zone,
    }
