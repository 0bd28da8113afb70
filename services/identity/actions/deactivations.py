"""Ending an account: asked for, announced by a last mail, cooled off where the tenant wants it, then commanded.

Until `command_due` publishes AccountDeactivated everything can be undone; from then on nothing can.
"""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.links import close_links, issue_link
from services.identity.actions.security_log import record
from services.identity.actions.sessions import end_sessions
from services.identity.actions.tenants import get_settings
from services.identity.errors import (
    AlreadyDeactivating,
    InvitationPending,
    LastAdministrator,
    NotDeactivating,
    UnknownAccount,
)
from services.identity.models import Account, AccountState, Deactivation, Happening
from services.identity.origin import Origin
from shared.bus import publish
from shared.db import tenant_of
from shared.events.identity import AccountDeactivated, ContentChoice, DeactivationReason, LinkPurpose, Role
from shared.privacy.tables import erasures
from shared.privacy.tombstones import is_erased
from shared.problems import AccountErased

_LOCK_ADMINS = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant || 'administrators', 2))")


async def deactivate(
    session: AsyncSession,
    account_id: UUID,
    *,
    reason: DeactivationReason,
    content: ContentChoice | None,
    requested_by: UUID | None,
    settle: timedelta,
    now: datetime,
) -> Deactivation:
    """Hide the account, end its sessions and mail the case's address; erasure follows the mail and the cooling-off.

    `content` is the tenant's default when None, `settle` how long the mail is waited for.
    Raises UnknownAccount, InvitationPending, AlreadyDeactivating, LastAdministrator.
    """
    account = await _get_leaving(session, account_id)
    settings = await get_settings(session)
    account.state = AccountState.DEACTIVATING
    account.version += 1
    await end_sessions(session, account, now=now)
    await close_links(session, account.id, *LinkPurpose, now=now)
    link = await issue_link(session, account.id, LinkPurpose.DEACTIVATION, email=account.email, now=now)
    cooling_off = timedelta(days=settings.cooling_off_days)
    deactivation = Deactivation(
        account_id=account.id,
        tenant_id=account.tenant_id,
        case_id=uuid4(),
        reason=reason,
        content=content or settings.default_content,
        requested_by=requested_by,
        requested_at=now,
        link_id=link.id,
        settle_by=now + settle,
        undo_until=now + cooling_off if cooling_off else None,
    )
    session.add(deactivation)
    await session.flush()
    return deactivation


async def _get_leaving(session: AsyncSession, account_id: UUID) -> Account:
    account = await session.get(Account, account_id, with_for_update=True)
    if account is None or account.state is AccountState.UNVERIFIED:
        raise UnknownAccount
    # Nobody knows an invited account but us: there is nothing to erase elsewhere, and undoing would make it a member.
    if account.state is AccountState.INVITED:
        raise InvitationPending(remedy="withdraw_the_invitation")
    if account.state is AccountState.DEACTIVATING:
        raise AlreadyDeactivating
    await keep_an_administrator(session, account)
    return account


async def order_deactivation(
    session: AsyncSession, account_id: UUID, *, content: ContentChoice | None, settle: timedelta, now: datetime
) -> Deactivation:
    """Deactivate by order of the data protection officer; ordered again, return the deactivation that is under way.

    One that the person or an administrator has begun goes on under its case as the officer's: signing in no longer
    undoes it. Raises UnknownAccount, InvitationPending, LastAdministrator.
    """
    under_way = await _take_over(session, account_id)
    if under_way is not None:
        return under_way
    reason = DeactivationReason.DPO_REQUEST
    try:
        return await deactivate(
            session, account_id, reason=reason, content=content, requested_by=None, settle=settle, now=now
        )
    except AlreadyDeactivating:
        # Begun since we looked, most likely by this order itself, asked again while its first request still ran.
        under_way = await _take_over(session, account_id)
        if under_way is None:
            raise
        return under_way


async def _take_over(session: AsyncSession, account_id: UUID) -> Deactivation | None:
    deactivation = await session.get(Deactivation, account_id, with_for_update=True)
    if deactivation is not None and deactivation.commanded_at is None:
        deactivation.reason = DeactivationReason.DPO_REQUEST
    return deactivation


async def get_case_of_erased(session: AsyncSession, account_id: UUID) -> UUID:
    """Return the case of an account that is erased here, while the case is not completed.

    From then on nothing leads from the account to its case. Raises AccountErased, or UnknownAccount for nobody's id.
    """
    tenant_id = tenant_of(session)
    mine = select(erasures.c.case_id).where(erasures.c.tenant_id == tenant_id, erasures.c.account_id == account_id)
    case_id: UUID | None = await session.scalar(mine)
    if case_id is not None:
        return case_id
    raise AccountErased if await is_erased(session, tenant_id, account_id) else UnknownAccount


async def get_deactivation(session: AsyncSession, account_id: UUID) -> Deactivation:
    """Return an account's deactivation while it can still be seen. Raises NotDeactivating."""
    deactivation = await session.get(Deactivation, account_id)
    if deactivation is None:
        raise NotDeactivating
    return deactivation


async def find_by_case(session: AsyncSession, case_id: UUID) -> Deactivation | None:
    return (await session.scalars(select(Deactivation).where(Deactivation.case_id == case_id))).one_or_none()


async def undo(session: AsyncSession, account_id: UUID, *, origin: Origin, now: datetime) -> None:
    """Bring an account back that has not passed the point of no return. Raises NotDeactivating."""
    deactivation = await session.get(Deactivation, account_id, with_for_update=True)
    if deactivation is None or deactivation.commanded_at is not None:
        raise NotDeactivating
    await session.delete(deactivation)
    restored = update(Account).where(Account.id == account_id)
    await session.execute(restored.values(state=AccountState.ACTIVE, last_seen_at=now, inactivity_warned_on=None))
    await close_links(session, account_id, LinkPurpose.DEACTIVATION, now=now)
    await record(session, account_id, Happening.DEACTIVATION_UNDONE, origin=origin, now=now)


async def undo_by_signing_in(session: AsyncSession, account_id: UUID, *, origin: Origin, now: datetime) -> None:
    """Bring one's own account back, if it may still come back without an administrator. Raises NotDeactivating."""
    # Looked at once more, now locked: the officer may have taken it over while the password was checked.
    deactivation = await session.get(Deactivation, account_id, with_for_update=True)
    if deactivation is None or not deactivation.can_be_undone_by_signing_in(now):
        raise NotDeactivating
    await undo(session, account_id, origin=origin, now=now)


async def settle_mail(session: AsyncSession, link_id: UUID, *, now: datetime) -> None:
    """The last mail is sent or has finally failed: the account need not wait for it any longer."""
    waiting = (Deactivation.link_id == link_id) & (Deactivation.settle_by > now) & Deactivation.commanded_at.is_(None)
    await session.execute(update(Deactivation).where(waiting).values(settle_by=now))
    await command_due(session, now=now)


async def command_due(session: AsyncSession, *, now: datetime) -> int:
    """Pass the point of no return with every account of the tenant that is due; return how many."""
    due = select(Deactivation).where(Deactivation.commanded_at.is_(None), Deactivation.settle_by <= now)
    over = due.where(Deactivation.undo_until.is_(None) | (Deactivation.undo_until <= now))
    waiting = (await session.scalars(over.with_for_update(skip_locked=True).limit(100))).all()
    for deactivation in waiting:
        deactivation.commanded_at = now
        account = await session.get_one(Account, deactivation.account_id, with_for_update=True)
        account.version += 1
        event = AccountDeactivated(
            tenant_id=deactivation.tenant_id,
            account_id=deactivation.account_id,
            case_id=deactivation.case_id,
            reason=deactivation.reason,
            content=deactivation.content,
        )
        await publish(session, event, version=account.version)
    return len(waiting)


async def keep_an_administrator(session: AsyncSession, account: Account) -> None:
    """Let one transaction at a time take an administrator away. Raises LastAdministrator when it is the last one."""
    if Role.ADMIN not in account.role_set or account.state is not AccountState.ACTIVE:
        return
    await session.execute(_LOCK_ADMINS, {"tenant": str(tenant_of(session))})
    others = select(func.count()).where(
        Account.roles.contains([Role.ADMIN]), Account.state == AccountState.ACTIVE, Account.id != account.id
    )
    if not await session.scalar(others):
        raise LastAdministrator(remedy="give_another_account_the_administrator_role")
