"""Giving the password again before something that cannot be taken back."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.credentials import confirm_password
from services.identity.actions.second_factor import use_code
from services.identity.actions.security_log import record
from services.identity.errors import SecondFactorRequired, SessionEnded, WrongCode
from services.identity.models import Account, Happening, SecondFactor, SessionRow, TenantSettings
from services.identity.origin import Origin
from services.identity.secrecy import Secrecy
from services.identity.throttle import count_failure
from shared.auth import Caller
from shared.db import Database


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A session whose owner has just proved who they are, with the account and the settings as of now."""

    session: SessionRow
    account: Account
    settings: TenantSettings


async def confirm_session(
    database: Database,
    secrecy: Secrecy,
    caller: Caller,
    *,
    password: str,
    code: str | None,
    origin: Origin,
    now: datetime,
) -> Confirmed:
    """Note that the caller has just proved who they are, by all factors.

    Raises WrongPassword, SecondFactorRequired, WrongCode, TooManyAttempts, SessionEnded.
    """
    counters = await confirm_password(database, secrecy, caller, password=password, origin=origin, now=now)
    async with database.transaction(caller.tenant_id) as session:
        is_right = await _is_second_factor_given(session, secrecy, caller, code, origin=origin, now=now)
        if is_right:
            confirmed = await _confirm(session, caller, origin=origin, now=now)
        else:
            await count_failure(session, counters, now=now)
    # A wrong code must be counted, so it is refused after the commit.
    if not is_right:
        raise WrongCode
    return confirmed


async def _is_second_factor_given(
    session: AsyncSession, secrecy: Secrecy, caller: Caller, code: str | None, *, origin: Origin, now: datetime
) -> bool:
    factor = await session.get(SecondFactor, caller.account_id)
    if factor is None or factor.confirmed_at is None:
        return True
    if code is None:
        raise SecondFactorRequired
    return await use_code(session, secrecy, caller.account_id, code, origin=origin, now=now)


async def _confirm(session: AsyncSession, caller: Caller, *, origin: Origin, now: datetime) -> Confirmed:
    """What the caller's token says may be out of date: the account decides what the next one says."""
    live = update(SessionRow).where(SessionRow.id == caller.session_id, SessionRow.expires_at > now)
    row = (await session.scalars(live.values(authenticated_at=now).returning(SessionRow))).one_or_none()
    settings = await session.get(TenantSettings, caller.tenant_id)
    if row is None or settings is None or settings.case_id is not None:
        raise SessionEnded
    account = await session.get_one(Account, row.account_id)
    await record(session, account.id, Happening.CONFIRMED, origin=origin, now=now)
    return Confirmed(row, account, settings)
