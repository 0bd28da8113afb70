"""Signing in: one look, one argon2 outside any transaction, one settlement; refusals are counted before they answer."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.identity.actions.credentials import find_weaknesses
from services.identity.actions.deactivations import undo
from services.identity.actions.second_factor import is_valid_code
from services.identity.actions.security_log import alert, record
from services.identity.actions.sessions import OpenSession, open_session
from services.identity.actions.tenants import tenant_transaction
from services.identity.errors import SecondFactorRequired, WrongCode, WrongCredentials
from services.identity.models import (
    Account,
    AccountState,
    Deactivation,
    Happening,
    PasswordDemand,
    Profile,
    SecondFactor,
    SecurityEntry,
    TenantSettings,
)
from services.identity.origin import Origin
from services.identity.passwords import digest_password, is_password, needs_rehash
from services.identity.secrecy import Secrecy
from services.identity.throttle import Counters, check_patience, count_failure, count_success
from shared.db import Database
from shared.events.identity import SecurityKind
from shared.problems import Problem


@dataclass(frozen=True, slots=True)
class SignIn:
    """What somebody at the door says, where from and when. `code` is of the authenticator app or a recovery code."""

    email: str
    password: str
    code: str | None
    origin: Origin
    at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who the address belongs to, as far as signing in is concerned."""

    account: Account | None
    settings: TenantSettings
    names: list[str]
    factor: SecondFactor | None
    deactivation: Deactivation | None

    @property
    def password_hash(self) -> str | None:
        return self.account.password_hash if self.account else None


# Built once: building a statement costs more than running it.
_CANDIDATE = (
    select(TenantSettings, Account, SecondFactor, Deactivation, Profile.first_name, Profile.last_name)
    .select_from(TenantSettings)
    .outerjoin(
        Account,
        (Account.email == bindparam("email")) & Account.state.in_([AccountState.ACTIVE, AccountState.DEACTIVATING]),
    )
    .outerjoin(SecondFactor, SecondFactor.account_id == Account.id)
    .outerjoin(Deactivation, Deactivation.account_id == Account.id)
    .outerjoin(Profile, Profile.account_id == Account.id)
)
_KNOWN_DEVICE = select(func.bool_or(SecurityEntry.device == bindparam("device"))).where(
    SecurityEntry.account_id == bindparam("account"), SecurityEntry.happening == Happening.SIGNED_IN
)
_SEEN = text(
    "UPDATE accounts SET last_seen_at = :now, inactivity_warned_on = NULL, password_demand = :demand,"
    " password_hash = :new_hash WHERE id = :id AND password_hash = :checked_hash AND state = 'active' RETURNING id"
)


async def sign_in(database: Database, secrecy: Secrecy, slug: str, attempt: SignIn) -> OpenSession:
    """Open a session. Raises WrongCredentials, SecondFactorRequired, WrongCode, TooManyAttempts.

    An address without an account takes the same work as a wrong password.
    """
    async with tenant_transaction(database, slug) as session:
        candidate = await _find_candidate(session, attempt)
        tenant_id = candidate.settings.tenant_id
        counters = Counters.of(secrecy, tenant=str(tenant_id), email=attempt.email, address=attempt.origin.address)
        await check_patience(session, counters, now=attempt.at)
    is_right = await is_password(candidate.password_hash, attempt.password)
    rehashed = await _rehash(candidate, attempt.password) if is_right else None
    async with database.transaction(tenant_id) as session:
        account = candidate.account if is_right else None
        refusal = await _find_refusal(session, secrecy, candidate, account, attempt)
        if account is None or refusal is not None:
            await _note_failure(session, candidate, refusal, counters, attempt)
            opened = None
        else:
            opened = await _admit(session, candidate, account, attempt, rehashed=rehashed)
            await count_success(session, counters, now=attempt.at)
    # A failure must be counted, so it is refused after the commit.
    if opened is None:
        raise refusal or WrongCredentials()
    return opened


async def _find_candidate(session: AsyncSession, attempt: SignIn) -> Candidate:
    """One statement, whether or not there is such an account."""
    row = (await session.execute(_CANDIDATE, {"email": attempt.email})).one()
    settings, account, factor, deactivation, first_name, last_name = row
    if deactivation is not None and not deactivation.can_be_undone_by_signing_in(attempt.at):
        return Candidate(None, settings, [], None, None)
    names = [name for name in (first_name, last_name) if name]
    return Candidate(account, settings, names, factor, deactivation)


async def _rehash(candidate: Candidate, password: str) -> str | None:
    if candidate.password_hash is None or not needs_rehash(candidate.password_hash):
        return None
    return await digest_password(password)


async def _find_refusal(
    session: AsyncSession, secrecy: Secrecy, candidate: Candidate, account: Account | None, attempt: SignIn
) -> Problem | None:
    """The second factor is only spoken of once the password is right."""
    if account is None:
        return WrongCredentials()
    if candidate.factor is None or candidate.factor.confirmed_at is None:
        return None
    if attempt.code is None:
        return SecondFactorRequired()
    is_right = await is_valid_code(session, secrecy, account.id, attempt.code, now=attempt.at)
    return None if is_right else WrongCode()


async def _admit(
    session: AsyncSession, candidate: Candidate, account: Account, attempt: SignIn, *, rehashed: str | None
) -> OpenSession:
    origin, now = attempt.origin, attempt.at
    if candidate.deactivation is not None:
        await undo(session, account.id, origin=origin, now=now)
    own_words = [account.email, *candidate.names]
    is_weak = find_weaknesses(candidate.settings, account.role_set, attempt.password, own_words=own_words)
    if is_weak and account.password_demand is None:
        account.password_demand = PasswordDemand.WEAK
    await _note_use(session, account, rehashed=rehashed, now=now)
    if await _is_new_device(session, account, origin):
        await alert(session, account.id, SecurityKind.NEW_SIGN_IN)
    row, token = await open_session(session, account.id, origin=origin, now=now)
    await record(session, account.id, Happening.SIGNED_IN, origin=origin, now=now)
    return OpenSession(row, account, candidate.settings, token)


async def _note_use(session: AsyncSession, account: Account, *, rehashed: str | None, now: datetime) -> None:
    """Raises WrongCredentials when the password was replaced, or the account left, since it was checked."""
    values = {
        "now": now,
        "demand": account.password_demand,
        "new_hash": rehashed or account.password_hash,
        "id": account.id,
        "checked_hash": account.password_hash,
    }
    if (await session.execute(_SEEN, values)).scalar() is None:
        raise WrongCredentials


async def _is_new_device(session: AsyncSession, account: Account, origin: Origin) -> bool:
    """Whether earlier sign-ins exist, and none of them from this kind of device."""
    return await session.scalar(_KNOWN_DEVICE, {"device": origin.device, "account": account.id}) is False


async def _note_failure(
    session: AsyncSession, candidate: Candidate, refusal: Problem | None, counters: Counters, attempt: SignIn
) -> None:
    if isinstance(refusal, SecondFactorRequired):
        return
    await count_failure(session, counters, now=attempt.at)
    if candidate.account is not None:
        await record(session, candidate.account.id, Happening.SIGN_IN_FAILED, origin=attempt.origin, now=attempt.at)
