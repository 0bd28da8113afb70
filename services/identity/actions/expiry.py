"""What time does to accounts: passwords that are about to expire, members who have not been seen for two years."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.deactivations import deactivate
from services.identity.actions.tenants import get_settings
from services.identity.errors import LastAdministrator
from services.identity.models import Account, AccountState
from shared.bus import Event, publish_all
from shared.events.identity import AccountInactivityWarned, ContentChoice, DeactivationReason, PasswordExpiring, Role

WARNING_DAYS = (1, 7, 14)
INACTIVE = timedelta(days=730)
NOTICE = timedelta(days=30)


async def warn_of_expiring_passwords(session: AsyncSession, *, now: datetime) -> int:
    """Warn 14, 7 and 1 days before the day on which a password expires, each once; return how many were warned."""
    settings = await get_settings(session)
    expiring = [role for role in Role if settings.password_days({role})]
    if not expiring:
        return 0
    holders = select(Account).where(Account.state == AccountState.ACTIVE, Account.roles.overlap(expiring))
    warnings: list[tuple[Event, int]] = []
    for account in await session.scalars(holders.with_for_update(skip_locked=True)):
        expires_on = settings.password_expires_on(account.role_set, account.password_changed_at)
        if expires_on is None:
            continue
        days_left = (expires_on - settings.day_of(now)).days
        step = next((step for step in WARNING_DAYS if 0 < days_left <= step), None)
        if step is None or (account.password_warned_days or max(WARNING_DAYS) + 1) <= step:
            continue
        account.password_warned_days = step
        warning = PasswordExpiring(
            tenant_id=account.tenant_id, account_id=account.id, expires_on=expires_on, days_left=days_left
        )
        warnings.append((warning, account.version))
    await publish_all(session, warnings)
    return len(warnings)


async def warn_inactive(session: AsyncSession, *, now: datetime) -> int:
    """Announce, 30 days ahead, the end of accounts unseen for almost two years; return how many were warned."""
    unseen = select(Account).where(
        Account.state == AccountState.ACTIVE,
        Account.last_seen_at < now - INACTIVE + NOTICE,
        Account.inactivity_warned_on.is_(None),
    )
    warnings: list[tuple[Event, int]] = []
    for account in await session.scalars(unseen.with_for_update(skip_locked=True)):
        account.inactivity_warned_on = now.date()
        warning = AccountInactivityWarned(
            tenant_id=account.tenant_id, account_id=account.id, deactivates_on=(now + NOTICE).date()
        )
        warnings.append((warning, account.version))
    await publish_all(session, warnings)
    return len(warnings)


async def deactivate_inactive(session: AsyncSession, *, settle: timedelta, now: datetime) -> int:
    """Deactivate who was warned 30 days ago and not seen since; a tenant keeps its last administrator."""
    warned = select(Account.id).where(
        Account.state == AccountState.ACTIVE,
        Account.last_seen_at < now - INACTIVE,
        Account.inactivity_warned_on <= (now - NOTICE).date(),
    )
    count = 0
    for account_id in await session.scalars(warned):
        try:
            await deactivate(
                session,
                account_id,
                reason=DeactivationReason.INACTIVE,
                content=ContentChoice.KEEP,
                requested_by=None,
                settle=settle,
                now=now,
            )
        except LastAdministrator:
            continue
        count += 1
    return count
