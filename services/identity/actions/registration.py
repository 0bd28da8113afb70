"""Becoming a member: registration and verification, invitation and acceptance.

Whether an address has an account shows neither in the answer nor in its work: one argon2 and one link either way.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.credentials import check_strength
from services.identity.actions.links import close_links, get_open_link, is_flooded, issue_link
from services.identity.actions.tenants import get_settings, tenant_transaction
from services.identity.errors import AlreadyMember, LinkSpent, WrongCredentials
from services.identity.models import Account, AccountState, Profile
from services.identity.origin import Origin
from services.identity.passwords import digest_password, is_password
from services.identity.secrecy import Secrecy
from services.identity.throttle import Patience, count_call
from shared.bus import publish
from shared.db import Database, tenant_of
from shared.events.identity import AccountRegistered, Language, LinkPurpose, Role

REGISTRATIONS = Patience(free=30, longest=900)
_LOCK_EMAIL = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant || :email, 1))")


async def register(
    database: Database,
    secrecy: Secrecy,
    slug: str,
    *,
    email: str,
    password: str,
    language: Language | None,
    origin: Origin,
    now: datetime,
) -> None:
    """Ask for an account; a mail goes to the address whether it is new (verify) or known (sign in instead).

    Raises WeakPassword, TooManyAttempts.
    """
    async with tenant_transaction(database, slug) as session:
        await count_call(session, secrecy.digest("attempts", slug, "register", origin.address), REGISTRATIONS, now=now)
        settings = await get_settings(session)
        check_strength(settings, {Role.MEMBER}, password, own_words=[email])
    password_hash = await digest_password(password)
    async with database.transaction(settings.tenant_id) as session:
        known = await find_confirmed(session, email)
        purpose = _purpose_for(known)
        if await is_flooded(session, email, purpose, now=now):
            return
        account = known or await _add_unverified(
            session, email, password_hash=password_hash, language=language or settings.default_language, now=now
        )
        await issue_link(session, account.id, purpose, email=email, now=now)


async def verify(database: Database, secrecy: Secrecy, slug: str, *, token: str, password: str, now: datetime) -> None:
    """Open the account whose registration mailed `token`, for the one who knows the password chosen then.

    The password keeps out who registered somebody else's address and waits for its owner to click.
    Raises LinkSpent, WrongCredentials.
    """
    async with tenant_transaction(database, slug) as session:
        link = await get_open_link(session, secrecy, token, LinkPurpose.VERIFY_EMAIL, now=now)
        account = await session.get_one(Account, link.account_id)
        tenant_id = tenant_of(session)
    if not await is_password(account.password_hash, password):
        raise WrongCredentials
    async with database.transaction(tenant_id) as session:
        # The address first, then rows: a rival's verification that deletes this registration holds it.
        await lock_email(session, account.email)
        link = await get_open_link(session, secrecy, token, LinkPurpose.VERIFY_EMAIL, now=now)
        link.used_at = now
        account = await session.get_one(Account, link.account_id, with_for_update=True)
        if await find_confirmed(session, account.email) is not None:
            raise LinkSpent
        await activate(session, account, now=now)


async def activate(session: AsyncSession, account: Account, *, now: datetime) -> None:
    """Make the account a member's: from here on other services know it."""
    account.state = AccountState.ACTIVE
    account.last_seen_at = now
    account.version += 1
    session.add(Profile(account_id=account.id, tenant_id=account.tenant_id))
    await session.flush()
    rivals = delete(Account).where(Account.email == account.email, Account.state == AccountState.UNVERIFIED)
    await session.execute(rivals)
    event = AccountRegistered(
        tenant_id=account.tenant_id,
        account_id=account.id,
        language=account.language,
        roles=sorted(account.role_set),
    )
    await publish(session, event, version=account.version)


async def invite(
    session: AsyncSession, *, email: str, roles: set[Role], language: Language, invited_by: UUID | None, now: datetime
) -> Account:
    """Mail an invitation; a second one to the same address replaces the first. Raises AlreadyMember."""
    await lock_email(session, email)
    # Locked, or an acceptance at the same moment would make a member whose roles this replaces unannounced.
    pending = select(Account).where(Account.email == email, Account.state == AccountState.INVITED).with_for_update()
    account = (await session.scalars(pending)).one_or_none()
    if account is None and await find_confirmed(session, email) is not None:
        raise AlreadyMember
    if account is None:
        account = Account(
            tenant_id=tenant_of(session), email=email, state=AccountState.INVITED, created_at=now, version=1
        )
        session.add(account)
    account.roles, account.language, account.invited_by = sorted(roles), language, invited_by
    account.created_at = now
    await session.flush()
    await close_links(session, account.id, LinkPurpose.INVITATION, now=now)
    await issue_link(session, account.id, LinkPurpose.INVITATION, email=email, now=now)
    return account


async def withdraw_invitation(session: AsyncSession, account_id: UUID) -> bool:
    """Forget an invitation that was not accepted; False when there is none."""
    pending = delete(Account).where(Account.id == account_id, Account.state == AccountState.INVITED)
    return (await session.execute(pending.returning(Account.id))).scalar() is not None


async def accept_invitation(
    database: Database, secrecy: Secrecy, slug: str, *, token: str, password: str, now: datetime
) -> None:
    """Open the invited account with the password chosen. Raises LinkSpent, WeakPassword."""
    async with tenant_transaction(database, slug) as session:
        account = await _get_invited(session, secrecy, token, now=now)
        settings = await get_settings(session)
        check_strength(settings, account.role_set, password, own_words=[account.email])
    password_hash = await digest_password(password)
    async with database.transaction(settings.tenant_id) as session:
        account = await _get_invited(session, secrecy, token, now=now)
        # All of them: whoever is invited and also fills in the registration form has several.
        await close_links(session, account.id, LinkPurpose.INVITATION, now=now)
        account.password_hash, account.password_changed_at = password_hash, now
        await activate(session, account, now=now)


async def add_verified_admin(
    session: AsyncSession, *, email: str, password_hash: str, language: Language, now: datetime
) -> Account:
    """Make a tenant's first administrator at once, without a mail; the operator vouches for the address."""
    account = Account(
        tenant_id=tenant_of(session),
        email=email,
        password_hash=password_hash,
        password_changed_at=now,
        state=AccountState.UNVERIFIED,
        roles=[Role.ADMIN, Role.MEMBER],
        language=language,
        created_at=now,
        version=0,
    )
    session.add(account)
    await session.flush()
    await activate(session, account, now=now)
    return account


async def find_confirmed(session: AsyncSession, email: str) -> Account | None:
    """Return the account that this address belongs to in the tenant, whatever its state."""
    wanted = select(Account).where(Account.email == email, Account.state != AccountState.UNVERIFIED)
    return (await session.scalars(wanted)).one_or_none()


async def lock_email(session: AsyncSession, email: str) -> None:
    """Let one transaction at a time give an address to an account."""
    await session.execute(_LOCK_EMAIL, {"tenant": str(tenant_of(session)), "email": email})


async def _add_unverified(
    session: AsyncSession, email: str, *, password_hash: str, language: Language, now: datetime
) -> Account:
    account = Account(
        tenant_id=tenant_of(session),
        email=email,
        password_hash=password_hash,
        password_changed_at=now,
        state=AccountState.UNVERIFIED,
        roles=[Role.MEMBER],
        language=language,
        created_at=now,
        version=0,
    )
    session.add(account)
    await session.flush()
    return account


def _purpose_for(known: Account | None) -> LinkPurpose:
    if known is None:
        return LinkPurpose.VERIFY_EMAIL
    return LinkPurpose.INVITATION if known.state is AccountState.INVITED else LinkPurpose.ALREADY_REGISTERED


async def _get_invited(session: AsyncSession, secrecy: Secrecy, token: str, *, now: datetime) -> Account:
    link = await get_open_link(session, secrecy, token, LinkPurpose.INVITATION, now=now)
    account = await session.get_one(Account, link.account_id, with_for_update=True)
    if account.state is not AccountState.INVITED:
        raise LinkSpent
    return account
