"""Changing the address: the new one confirms, the old one is told and may undo it."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.credentials import void_password
from services.identity.actions.links import (
    PERIOD,
    close_later_links,
    close_links,
    get_open_link,
    is_flooded,
    is_insistent,
    issue_link,
)
from services.identity.actions.registration import find_confirmed, lock_email
from services.identity.actions.second_factor import remove_factor
from services.identity.actions.security_log import alert, record
from services.identity.actions.sessions import end_sessions
from services.identity.errors import LinkSpent, TooManyAttempts
from services.identity.models import Account, EmailChange, Happening, Link, SecondFactor
from services.identity.origin import Origin
from services.identity.secrecy import Secrecy
from shared.events.identity import LinkPurpose, SecurityKind


async def request_email_change(
    session: AsyncSession, account: Account, new_email: str, *, origin: Origin, now: datetime
) -> None:
    """Mail a confirmation to the new address; until it is followed, nothing changes.

    Whether somebody has that address shows in nothing that the caller can see or export, for nobody looks: it is only
    said to whoever opens the mail. Raises TooManyAttempts.
    """
    # Two requests at once must not both find room for one more mail.
    await session.refresh(account, with_for_update=True)
    purpose = LinkPurpose.CONFIRM_NEW_EMAIL
    is_flooding = await is_flooded(session, new_email, purpose, now=now)
    if is_flooding or await is_insistent(session, account.id, purpose, now=now):
        raise TooManyAttempts(seconds=int(PERIOD.total_seconds()))
    fresh = {"old_email": account.email, "new_email": new_email, "requested_at": now, "confirmed_at": None}
    row = insert(EmailChange).values(account_id=account.id, tenant_id=account.tenant_id, **fresh)
    await session.execute(row.on_conflict_do_update(index_elements=[EmailChange.account_id], set_=fresh))
    await close_links(session, account.id, purpose, now=now)
    await issue_link(session, account.id, purpose, email=new_email, now=now)
    await record(session, account.id, Happening.EMAIL_CHANGE_REQUESTED, origin=origin, now=now)


async def confirm_email_change(
    session: AsyncSession, secrecy: Secrecy, token: str, *, origin: Origin, now: datetime
) -> None:
    """Make the new address the account's; the old one gets an undo link for a week. Raises LinkSpent."""
    link = await get_open_link(session, secrecy, token, LinkPurpose.CONFIRM_NEW_EMAIL, now=now)
    link.used_at = now
    change = await session.get(EmailChange, link.account_id, with_for_update=True)
    if change is None or change.new_email != link.email:
        raise LinkSpent
    await lock_email(session, change.new_email)
    if await find_confirmed(session, change.new_email) is not None:
        raise LinkSpent(remedy="sign_in_with_this_address")
    account = await session.get_one(Account, link.account_id, with_for_update=True)
    account.email, change.confirmed_at = change.new_email, now
    account.version += 1
    await issue_link(session, account.id, LinkPurpose.UNDO_EMAIL_CHANGE, email=change.old_email, now=now)
    await alert(session, account.id, SecurityKind.EMAIL_CHANGED)
    await record(session, account.id, Happening.EMAIL_CHANGED, origin=origin, now=now)


async def undo_email_change(
    session: AsyncSession, secrecy: Secrecy, token: str, *, origin: Origin, now: datetime
) -> None:
    """Give the account back to its old address: sessions end and the password is void, for whoever changed the
    address knew it. A reset link goes to the old address.

    Of several undo links the oldest has the last word: each spends those made after it, none those made before.
    Raises LinkSpent.
    """
    link = await get_open_link(session, secrecy, token, LinkPurpose.UNDO_EMAIL_CHANGE, now=now)
    link.used_at = now
    await lock_email(session, link.email)
    owner = await find_confirmed(session, link.email)
    if owner is not None and owner.id != link.account_id:
        raise LinkSpent
    account = await session.get_one(Account, link.account_id, with_for_update=True)
    account.email = link.email
    account.version += 1
    await void_password(session, account, now=now)
    await _close_ways_back(session, link, origin=origin, now=now)
    await issue_link(session, account.id, LinkPurpose.RESET_PASSWORD, email=link.email, now=now)
    await end_sessions(session, account, now=now)
    await record(session, account.id, Happening.EMAIL_CHANGE_UNDONE, origin=origin, now=now)


async def _close_ways_back(session: AsyncSession, link: Link, *, origin: Origin, now: datetime) -> None:
    """Take away what whoever changed the address may have laid since: further links and a second factor."""
    await close_later_links(session, link, now=now)
    await close_links(session, link.account_id, LinkPurpose.RESET_PASSWORD, LinkPurpose.CONFIRM_NEW_EMAIL, now=now)
    await session.execute(delete(EmailChange).where(EmailChange.account_id == link.account_id))
    factor = await session.get(SecondFactor, link.account_id, with_for_update=True)
    if factor is not None and factor.confirmed_at is not None and factor.confirmed_at >= link.created_at:
        await remove_factor(session, link.account_id, origin=origin, now=now)
