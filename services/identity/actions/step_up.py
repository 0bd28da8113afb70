"""Giving the password again before something that cannot be taken back."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.credentials import confirm_password
from services.identity.actions.second_factor import is_valid_code
from services.identity.actions.security_log import record
from services.identity.errors import SecondFactorRequired, SessionEnded, WrongCode
from services.identity.models import Happening, SecondFactor, SessionRow
from services.identity.origin import Origin
from services.identity.secrecy import Secrecy
from services.identity.throttle import count_failure
from shared.auth import Caller
from shared.db import Database


async def confirm_session(
    database: Database,
    secrecy: Secrecy,
    caller: Caller,
    *,
    password: str,
    code: str | None,
    origin: Origin,
    now: datetime,
) -> SessionRow:
    """Note that the caller has just proved who they are, by all factors.

    Raises WrongPassword, SecondFactorRequired, WrongCode, TooManyAttempts, SessionEnded.
    """
    counters = await confirm_password(database, secrecy, caller, password=password, origin=origin, now=now)
    async with database.transaction(caller.tenant_id) as session:
        is_right = await _is_second_factor_given(session, secrecy, caller, code, now=now)
        if is_right:
            row = await _confirm(session, caller, origin=origin, now=now)
        else:
            await count_failure(session, counters, now=now)
    # A wrong code must be counted, so it is refused after the commit.
    if not is_right:
        raise WrongCode
    return row


async def _is_second_factor_given(
    session: AsyncSession, secrecy: Secrecy, caller: Caller, code: str | None, *, now: datetime
) -> bool:
    factor = await session.get(SecondFactor, caller.account_id)
    if factor is None or factor.confirmed_at is None:
        return True
    if code is None:
        raise SecondFactorRequired
    return await is_valid_code(session, secrecy, caller.account_id, code, now=now)


async def _confirm(session: AsyncSession, caller: Caller, *, origin: Origin, now: datetime) -> SessionRow:
    confirmed = update(SessionRow).where(SessionRow.id == caller.session_id).values(authenticated_at=now)
    row = (await session.scalars(confirmed.returning(SessionRow))).one_or_none()
    if row is None:
        raise SessionEnded
    await record(session, caller.account_id, Happening.CONFIRMED, origin=origin, now=now)
    return row
