"""What administrators do with accounts: list them, change roles; and what services ask about them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.deactivations import keep_an_administrator
from services.identity.actions.security_log import record
from services.identity.actions.sessions import end_sessions
from services.identity.errors import UnknownAccount
from services.identity.models import Account, AccountState, Happening, Profile
from services.identity.origin import Origin
from shared.bus import publish
from shared.events.identity import AccountRolesChanged, Role
from shared.problems import Gone


async def list_accounts(
    session: AsyncSession,
    *,
    role: Role | None,
    state: AccountState | None,
    limit: int,
    after: tuple[Any, ...] | None,
) -> Sequence[Account]:
    """Return the tenant's accounts, the oldest first; registrations that nobody verified are none."""
    wanted = select(Account).where(Account.state != AccountState.UNVERIFIED)
    if role is not None:
        wanted = wanted.where(Account.roles.contains([role]))
    if state is not None:
        wanted = wanted.where(Account.state == state)
    if after is not None:
        wanted = wanted.where(tuple_(Account.created_at, Account.id) > after)
    return (await session.scalars(wanted.order_by(Account.created_at, Account.id).limit(limit))).all()


async def list_active(session: AsyncSession, *, role: Role | None, after: UUID | None, limit: int) -> Sequence[Account]:
    """Return active accounts by id."""
    wanted = select(Account).where(Account.state == AccountState.ACTIVE)
    if role is not None:
        wanted = wanted.where(Account.roles.contains([role]))
    if after is not None:
        wanted = wanted.where(Account.id > after)
    return (await session.scalars(wanted.order_by(Account.id).limit(limit))).all()


async def get_account(session: AsyncSession, account_id: UUID, *, for_update: bool = False) -> Account:
    """Return an account of the tenant. Raises UnknownAccount."""
    account = await session.get(Account, account_id, with_for_update=for_update or None)
    if account is None or account.state is AccountState.UNVERIFIED:
        raise UnknownAccount
    return account


async def get_contact(session: AsyncSession, account_id: UUID) -> tuple[Account, str]:
    """Return an account that may be written to and its person's name.

    Raises Gone for one that is leaving, erased or was never there.
    """
    account = await session.get(Account, account_id)
    if account is None or not account.is_active:
        raise Gone
    names = select(Profile.first_name, Profile.last_name).where(Profile.account_id == account_id)
    first_name, last_name = (await session.execute(names)).one()
    return account, f"{first_name} {last_name}".strip()


async def set_roles(
    session: AsyncSession, account: Account, roles: set[Role], *, origin: Origin, now: datetime
) -> None:
    """Replace an account's roles; who loses one signs in again at once. Raises LastAdministrator."""
    lost = account.role_set - roles
    if account.role_set == roles:
        return
    if Role.ADMIN in lost:
        await keep_an_administrator(session, account)
    account.roles = sorted(roles)
    account.version += 1
    await session.flush()
    event = AccountRolesChanged(tenant_id=account.tenant_id, account_id=account.id, roles=sorted(roles))
    await publish(session, event, version=account.version)
    await record(session, account.id, Happening.ROLES_CHANGED, origin=origin, now=now)
    if lost:
        await end_sessions(session, account, now=now)
