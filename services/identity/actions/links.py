"""Single-use links: issued into a mail, shown to notify when it sends, opened once."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.cases import case_url
from services.identity.errors import LinkSpent
from services.identity.models import Account, Deactivation, Link
from services.identity.secrecy import Secrecy
from shared.bus import publish
from shared.db import tenant_of
from shared.events.identity import LinkIssued, LinkPurpose
from shared.problems import Gone

LIFETIMES = {
    LinkPurpose.VERIFY_EMAIL: timedelta(days=2),
    LinkPurpose.RESET_PASSWORD: timedelta(hours=1),
    LinkPurpose.CONFIRM_NEW_EMAIL: timedelta(days=1),
    LinkPurpose.UNDO_EMAIL_CHANGE: timedelta(days=7),
    LinkPurpose.INVITATION: timedelta(days=14),
    LinkPurpose.ALREADY_REGISTERED: timedelta(days=1),
    LinkPurpose.DEACTIVATION: timedelta(days=365),
}
PAGES = {
    LinkPurpose.VERIFY_EMAIL: "verify-email",
    LinkPurpose.RESET_PASSWORD: "reset-password",
    LinkPurpose.CONFIRM_NEW_EMAIL: "confirm-email",
    LinkPurpose.UNDO_EMAIL_CHANGE: "undo-email-change",
    LinkPurpose.INVITATION: "accept-invitation",
    LinkPurpose.ALREADY_REGISTERED: "sign-in",
}
# Whoever asks for mails to somebody else's address gets this many an hour into that mailbox, of each purpose: what
# strangers can ask for must not use up what the owner needs.
MOST_PER_HOUR = 5
PERIOD = timedelta(hours=1)


async def issue_link(
    session: AsyncSession, account_id: UUID, purpose: LinkPurpose, *, email: str, now: datetime
) -> Link:
    """Make a link and have it mailed to `email`."""
    link = Link(
        tenant_id=tenant_of(session),
        account_id=account_id,
        purpose=purpose,
        email=email,
        created_at=now,
        expires_at=now + LIFETIMES[purpose],
    )
    session.add(link)
    await session.flush()
    await publish(
        session, LinkIssued(tenant_id=link.tenant_id, link_id=link.id, account_id=account_id, purpose=purpose)
    )
    return link


async def is_flooded(session: AsyncSession, email: str, purpose: LinkPurpose, *, now: datetime) -> bool:
    """Whether this mailbox got MOST_PER_HOUR links of this purpose within the last hour."""
    return await _is_enough(session, Link.email == email, Link.purpose == purpose, now=now)


async def is_insistent(session: AsyncSession, account_id: UUID, purpose: LinkPurpose, *, now: datetime) -> bool:
    """Whether this account had MOST_PER_HOUR links of this purpose mailed within the last hour, wherever to."""
    return await _is_enough(session, Link.account_id == account_id, Link.purpose == purpose, now=now)


async def _is_enough(session: AsyncSession, *conditions: ColumnElement[bool], now: datetime) -> bool:
    recent = select(func.count()).where(*conditions, Link.created_at > now - PERIOD)
    return (await session.scalar(recent) or 0) >= MOST_PER_HOUR


async def get_open_link(
    session: AsyncSession, secrecy: Secrecy, token: str, purpose: LinkPurpose, *, now: datetime
) -> Link:
    """Return the link that `token` opens; it and its account are locked until the transaction ends. Raises LinkSpent."""
    link_id = secrecy.find_link_id(token)
    if link_id is None:
        raise LinkSpent
    # The account first: who closes an account's links holds it, and two links of one account may be opened at once.
    owner = select(Account.id).where(Account.id == select(Link.account_id).where(Link.id == link_id).scalar_subquery())
    await session.execute(owner.with_for_update())
    link = await session.get(Link, link_id, with_for_update=True)
    if link is None or link.purpose is not purpose or not link.is_open(now):
        raise LinkSpent
    return link


async def close_links(session: AsyncSession, account_id: UUID, *purposes: LinkPurpose, now: datetime) -> None:
    """Spend the account's open links of these purposes: what they led to has happened."""
    spent = update(Link).where(Link.account_id == account_id, Link.purpose.in_(purposes), Link.used_at.is_(None))
    await session.execute(spent.values(used_at=now))


async def close_later_links(session: AsyncSession, link: Link, *, now: datetime) -> None:
    """Spend the account's open links of the same purpose that were made after `link`, or with it; older ones stay."""
    spent = update(Link).where(Link.account_id == link.account_id, Link.purpose == link.purpose)
    later = spent.where(Link.created_at >= link.created_at, Link.used_at.is_(None))
    await session.execute(later.values(used_at=now))


async def get_mailable_link(session: AsyncSession, link_id: UUID, *, now: datetime) -> Link:
    """Return a link that is still worth mailing. Raises Gone when it is used, expired or erased."""
    link = await session.get(Link, link_id)
    if link is None or not link.is_open(now):
        raise Gone
    return link


async def link_url(session: AsyncSession, link: Link, *, public_url: str, slug: str, secrecy: Secrecy) -> str:
    """Return the address that the mail carries: a page of the tenant, or the case of a deactivation."""
    if link.purpose is LinkPurpose.DEACTIVATION:
        case_id = await session.scalar(select(Deactivation.case_id).where(Deactivation.link_id == link.id))
        return case_url(public_url, case_id) if case_id else public_url
    page = f"{public_url}/{slug}/{PAGES[link.purpose]}"
    return page if link.purpose is LinkPurpose.ALREADY_REGISTERED else f"{page}?token={secrecy.link_token(link.id)}"
