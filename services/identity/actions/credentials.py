"""Choosing a password: the rules of the tenant, the history, the demand to change it, and the reset by mail."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.links import close_links, get_open_link, is_flooded, issue_link
from services.identity.actions.security_log import alert, record
from services.identity.actions.sessions import end_sessions
from services.identity.actions.tenants import get_settings, tenant_transaction
from services.identity.errors import WeakPassword, WrongPassword
from services.identity.models import (
    Account,
    AccountState,
    Happening,
    PasswordDemand,
    PastPassword,
    Profile,
    TenantSettings,
)
from services.identity.origin import Origin
from services.identity.password_rules import Weakness, weaknesses
from services.identity.passwords import digest_password, is_any_password, is_password
from services.identity.secrecy import Secrecy
from services.identity.throttle import Counters, check_patience, count_failure
from shared.auth import Caller, check_standing
from shared.db import Database, tenant_of
from shared.events.identity import LinkPurpose, Role, SecurityKind

HISTORY = 5


def check_strength(settings: TenantSettings, roles: set[Role], password: str, *, own_words: Sequence[str]) -> None:
    """Raises WeakPassword with its reasons."""
    found = find_weaknesses(settings, roles, password, own_words=own_words)
    if found:
        raise WeakPassword(reasons=found)


def find_weaknesses(
    settings: TenantSettings, roles: set[Role], password: str, *, own_words: Sequence[str]
) -> list[Weakness]:
    """Return why the tenant does not accept `password` from somebody with `roles`."""
    return weaknesses(
        password,
        min_length=settings.min_password_length(roles),
        own_words=own_words,
        tenant_words=[settings.slug, settings.name],
    )


async def change_password(
    database: Database,
    secrecy: Secrecy,
    caller: Caller,
    *,
    current_password: str,
    new_password: str,
    origin: Origin,
    now: datetime,
) -> None:
    """Replace the caller's password; every other session ends. Raises WrongPassword, WeakPassword, TooManyAttempts."""
    await confirm_password(database, secrecy, caller, password=current_password, origin=origin, now=now)
    new_hash = await _acceptable_hash(database, caller.tenant_id, caller.account_id, new_password)
    async with database.transaction(caller.tenant_id) as session:
        account = await session.get_one(Account, caller.account_id, with_for_update=True)
        # Once more: a reset, or the owner's undo, may have ended this session since the password was confirmed.
        await check_standing(session, caller)
        await _replace_password(session, account, new_hash, now=now)
        await end_sessions(session, account, keep=caller.session_id, now=now)
        await record(session, account.id, Happening.PASSWORD_CHANGED, origin=origin, now=now)


async def confirm_password(
    database: Database, secrecy: Secrecy, caller: Caller, *, password: str, origin: Origin, now: datetime
) -> Counters:
    """Check the caller's own password again; return the counters for what else may be wrong.

    Raises WrongPassword, and TooManyAttempts after several of those.
    """
    async with database.transaction() as session:
        await check_standing(session, caller)
        account = await session.get_one(Account, caller.account_id)
        counters = Counters.of(secrecy, tenant=str(caller.tenant_id), email=account.email, address=origin.address)
        await check_patience(session, counters, now=now)
    if await is_password(account.password_hash, password):
        return counters
    async with database.transaction(caller.tenant_id) as session:
        await count_failure(session, counters, now=now)
    raise WrongPassword


async def request_reset(database: Database, slug: str, *, email: str, now: datetime) -> None:
    """Mail a link to choose a new password, if the address has an account; nothing tells the caller whether."""
    async with tenant_transaction(database, slug) as session:
        wanted = select(Account).where(Account.email == email, Account.state == AccountState.ACTIVE)
        account = (await session.scalars(wanted)).one_or_none()
        purpose = LinkPurpose.RESET_PASSWORD
        if account is not None and not await is_flooded(session, email, purpose, now=now):
            await issue_link(session, account.id, purpose, email=email, now=now)


async def reset_password(
    database: Database, secrecy: Secrecy, slug: str, *, token: str, new_password: str, origin: Origin, now: datetime
) -> None:
    """Choose a new password with a mailed link; every session ends. Raises LinkSpent, WeakPassword."""
    async with tenant_transaction(database, slug) as session:
        link = await get_open_link(session, secrecy, token, LinkPurpose.RESET_PASSWORD, now=now)
        tenant_id, account_id = tenant_of(session), link.account_id
    new_hash = await _acceptable_hash(database, tenant_id, account_id, new_password)
    async with database.transaction(tenant_id) as session:
        link = await get_open_link(session, secrecy, token, LinkPurpose.RESET_PASSWORD, now=now)
        account = await session.get_one(Account, link.account_id, with_for_update=True)
        await _replace_password(session, account, new_hash, now=now)
        await close_links(session, account.id, LinkPurpose.RESET_PASSWORD, now=now)
        await end_sessions(session, account, now=now)
        await record(session, account.id, Happening.PASSWORD_RESET, origin=origin, now=now)


async def void_password(session: AsyncSession, account: Account, *, now: datetime) -> None:
    """Leave the account without a password until it is reset; the void one is among the last, so it is not chosen."""
    await _remember_password(session, account, now=now)
    account.password_hash = None


async def demand_new_password(session: AsyncSession, account: Account) -> None:
    """Let the account's next session only change the password."""
    account.password_demand = PasswordDemand.BY_ADMIN
    await session.flush()


def is_restricted(account: Account, settings: TenantSettings, *, now: datetime) -> bool:
    """Whether a session may only change the password: it is demanded, or expired by the tenant's calendar."""
    if account.password_demand is not None:
        return True
    expires_on = settings.password_expires_on(account.role_set, account.password_changed_at)
    return expires_on is not None and settings.day_of(now) >= expires_on


async def _acceptable_hash(database: Database, tenant_id: UUID, account_id: UUID, password: str) -> str:
    """Hash a new password that meets the rules and is none of the last ones. Raises WeakPassword."""
    async with database.transaction(tenant_id) as session:
        account = await session.get_one(Account, account_id)
        profile = await session.get(Profile, account_id)
        settings = await get_settings(session)
        past = select(PastPassword.password_hash).where(PastPassword.account_id == account_id)
        used = list((await session.scalars(past)).all())
    names = [profile.first_name, profile.last_name] if profile else []
    check_strength(settings, account.role_set, password, own_words=[account.email, *names])
    if await is_any_password([*filter(None, [account.password_hash]), *used], password):
        raise WeakPassword(reasons=[Weakness.USED_BEFORE])
    return await digest_password(password)


async def _replace_password(session: AsyncSession, account: Account, new_hash: str, *, now: datetime) -> None:
    await _remember_password(session, account, now=now)
    account.password_hash, account.password_changed_at = new_hash, now
    account.password_demand, account.password_warned_days = None, None
    await alert(session, account.id, SecurityKind.PASSWORD_CHANGED)


async def _remember_password(session: AsyncSession, account: Account, *, now: datetime) -> None:
    if account.password_hash is not None:
        row = PastPassword(
            tenant_id=account.tenant_id, account_id=account.id, password_hash=account.password_hash, replaced_at=now
        )
        session.add(row)
        await session.flush()
    mine = PastPassword.account_id == account.id
    kept = select(PastPassword.id).where(mine).order_by(PastPassword.replaced_at.desc()).limit(HISTORY - 1)
    await session.execute(delete(PastPassword).where(mine, PastPassword.id.not_in(kept)))
