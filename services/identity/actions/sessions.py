"""Sessions: opened at sign-in, kept alive by rotating refresh tokens, listed and ended by their owner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.security_log import alert, record
from services.identity.errors import SessionEnded, UnknownSession
from services.identity.models import Account, Happening, SessionRow, TenantSettings
from services.identity.origin import Origin
from services.identity.secrecy import Secrecy
from services.identity.tokens import ACCESS_LIFETIME, RefreshToken
from shared.auth import revoked_sessions
from shared.bus import publish
from shared.db import Database, tenant_of, uuid7
from shared.events.identity import SecurityKind, SessionsRevoked

UNUSED_DAYS = timedelta(days=30)
# Parallel requests of one device all present the token that the first of them has just rotated.
GRACE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class OpenSession:
    """What a device gets: its session, its account as of now, and the next refresh token."""

    session: SessionRow
    account: Account
    settings: TenantSettings
    refresh_token: RefreshToken


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that is not stored yet, and the refresh token that will lead to it."""

    row: SessionRow
    token: RefreshToken


def new_session(session: AsyncSession, account_id: UUID, *, origin: Origin, now: datetime) -> NewSession:
    """Return the session of somebody who has just given the password."""
    token = RefreshToken.first(tenant_of(session), uuid7())
    row = SessionRow(
        id=token.session_id,
        tenant_id=token.tenant_id,
        account_id=account_id,
        token_digest=token.digest,
        rotated_at=now,
        created_at=now,
        authenticated_at=now,
        last_used_at=now,
        expires_at=now + UNUSED_DAYS,
        device=origin.device,
        address=origin.address,
    )
    return NewSession(row, token)


async def refresh(database: Database, secrecy: Secrecy, text: str, *, origin: Origin, now: datetime) -> OpenSession:
    """Exchange a refresh token for its successor.

    The token before the current one gets the same successor for GRACE, until that successor is used. An older one
    was stolen or copied: the session ends and its owner is told. Raises SessionEnded.
    """
    token = RefreshToken.find(text, secrecy)
    if token is None:
        raise SessionEnded
    async with database.transaction(token.tenant_id) as session:
        opened = await _rotate(session, secrecy, token, origin=origin, now=now)
    # The end of a stolen session must be committed, so it is refused only here.
    if opened is None:
        raise SessionEnded
    return opened


async def _rotate(
    session: AsyncSession, secrecy: Secrecy, token: RefreshToken, *, origin: Origin, now: datetime
) -> OpenSession | None:
    row = await session.get(SessionRow, token.session_id, with_for_update=True)
    if row is None or row.expires_at <= now:
        return None
    account = await session.get_one(Account, row.account_id)
    settings = await session.get_one(TenantSettings, row.tenant_id)
    if settings.case_id is not None:
        return None
    successor = token.successor(secrecy)
    if token.digest == row.token_digest:
        row.previous_digest, row.token_digest, row.rotated_at = row.token_digest, successor.digest, now
        row.last_used_at, row.expires_at = now, now + UNUSED_DAYS
        account.last_seen_at, account.inactivity_warned_on = now, None
    elif token.digest != row.previous_digest or now - row.rotated_at > GRACE:
        await end_sessions(session, account, only=row.id, now=now)
        await record(session, account.id, Happening.REFRESH_TOKEN_REUSED, origin=origin, now=now)
        await alert(session, account.id, SecurityKind.REFRESH_TOKEN_REUSED)
        return None
    return OpenSession(row, account, settings, successor)


async def list_sessions(session: AsyncSession, account_id: UUID, *, now: datetime) -> Sequence[SessionRow]:
    """Return the account's live sessions, last used first."""
    mine = select(SessionRow).where(SessionRow.account_id == account_id, SessionRow.expires_at > now)
    return (await session.scalars(mine.order_by(SessionRow.last_used_at.desc(), SessionRow.id))).all()


async def end_session(
    session: AsyncSession, account: Account, session_id: UUID, *, own: UUID, origin: Origin, now: datetime
) -> None:
    """End one of the account's sessions; the end of the caller's `own` is a sign-out. Raises UnknownSession."""
    if not await end_sessions(session, account, only=session_id, now=now):
        raise UnknownSession
    happening = Happening.SIGNED_OUT if session_id == own else Happening.SESSION_REVOKED
    await record(session, account.id, happening, origin=origin, now=now)


async def end_other_sessions(
    session: AsyncSession, account: Account, *, own: UUID, origin: Origin, now: datetime
) -> None:
    """End the account's sessions but the caller's `own`."""
    if await end_sessions(session, account, keep=own, now=now):
        await record(session, account.id, Happening.SESSION_REVOKED, origin=origin, now=now)


async def end_sessions(
    session: AsyncSession,
    account: Account,
    *,
    only: UUID | None = None,
    keep: UUID | None = None,
    now: datetime,
) -> list[UUID]:
    """End the account's sessions (all, `only` one, or all but `keep`), here at once and elsewhere by event."""
    ended = delete(SessionRow).where(SessionRow.account_id == account.id)
    if only is not None:
        ended = ended.where(SessionRow.id == only)
    if keep is not None:
        ended = ended.where(SessionRow.id != keep)
    ids = list((await session.scalars(ended.returning(SessionRow.id))).all())
    if not ids:
        return []
    until = now + ACCESS_LIFETIME
    rows = [
        {"session_id": each, "tenant_id": account.tenant_id, "account_id": account.id, "until": until} for each in ids
    ]
    await session.execute(upsert(revoked_sessions).values(rows).on_conflict_do_nothing())
    event = SessionsRevoked(
        tenant_id=account.tenant_id, account_id=account.id, session_ids=ids, until_epoch=int(until.timestamp()) + 1
    )
    await publish(session, event, version=account.version)
    return ids
