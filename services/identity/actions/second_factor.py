"""The second factor: set up, confirmed with a first code, checked at sign-in, removed."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity import totp
from services.identity.actions.security_log import alert, record
from services.identity.errors import NoSecondFactor, SecondFactorPresent, WrongCode
from services.identity.models import Happening, RecoveryCode, SecondFactor
from services.identity.origin import Origin
from services.identity.secrecy import Secrecy
from shared.db import tenant_of
from shared.events.identity import SecurityKind


async def prepare_factor(session: AsyncSession, secrecy: Secrecy, account_id: UUID) -> bytes:
    """Return a new secret that counts once confirmed. Raises SecondFactorPresent."""
    factor = await session.get(SecondFactor, account_id, with_for_update=True)
    if factor is not None and factor.confirmed_at is not None:
        raise SecondFactorPresent
    if factor is None:
        factor = SecondFactor(account_id=account_id, tenant_id=tenant_of(session), last_step=0)
        session.add(factor)
    secret = totp.new_secret()
    factor.sealed_secret = secrecy.seal(secret, context=_context(account_id))
    await session.flush()
    return secret


async def confirm_factor(
    session: AsyncSession, secrecy: Secrecy, account_id: UUID, code: str, *, origin: Origin, now: datetime
) -> list[str]:
    """Make the factor count and return the recovery codes, shown this once. Raises NoSecondFactor, WrongCode."""
    factor = await session.get(SecondFactor, account_id, with_for_update=True)
    if factor is None or factor.confirmed_at is not None:
        raise NoSecondFactor
    if not _use_app_code(secrecy, factor, code, now=now):
        raise WrongCode
    factor.confirmed_at = now
    codes = totp.new_recovery_codes()
    rows = [
        {"account_id": account_id, "tenant_id": factor.tenant_id, "digest": _digest(secrecy, account_id, each)}
        for each in codes
    ]
    await session.execute(insert(RecoveryCode), rows)
    await record(session, account_id, Happening.SECOND_FACTOR_ADDED, origin=origin, now=now)
    return codes


async def remove_factor(session: AsyncSession, account_id: UUID, *, origin: Origin, now: datetime) -> None:
    """Sign in with the password alone again; the person is told. Raises NoSecondFactor."""
    removed = delete(SecondFactor).where(SecondFactor.account_id == account_id).returning(SecondFactor.account_id)
    if (await session.execute(removed)).scalar() is None:
        raise NoSecondFactor
    await session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account_id))
    await record(session, account_id, Happening.SECOND_FACTOR_REMOVED, origin=origin, now=now)
    await alert(session, account_id, SecurityKind.SECOND_FACTOR_REMOVED)


async def use_code(
    session: AsyncSession, secrecy: Secrecy, account_id: UUID, code: str, *, origin: Origin, now: datetime
) -> bool:
    """Use up a code of the app or a recovery code; False when it is neither, or was used before.

    A recovery code leaves an entry of its own and a mail, because whoever found the list signs in like its owner.
    """
    factor = await session.get(SecondFactor, account_id, with_for_update=True, populate_existing=True)
    if factor is not None and _use_app_code(secrecy, factor, code, now=now):
        return True
    digest = _digest(secrecy, account_id, code.strip().upper())
    used = delete(RecoveryCode).where(RecoveryCode.account_id == account_id, RecoveryCode.digest == digest)
    if (await session.execute(used.returning(RecoveryCode.digest))).scalar() is None:
        return False
    await record(session, account_id, Happening.RECOVERY_CODE_USED, origin=origin, now=now)
    await alert(session, account_id, SecurityKind.RECOVERY_CODE_USED)
    return True


def _use_app_code(secrecy: Secrecy, factor: SecondFactor, code: str, *, now: datetime) -> bool:
    secret = secrecy.unseal(factor.sealed_secret, context=_context(factor.account_id))
    step = totp.find_step(secret, code, now=now, after=factor.last_step)
    if step is None:
        return False
    factor.last_step = step
    return True


def _digest(secrecy: Secrecy, account_id: UUID, code: str) -> bytes:
    return secrecy.digest("recovery", str(account_id), code)


def _context(account_id: UUID) -> str:
    return f"second_factors:{account_id}"
