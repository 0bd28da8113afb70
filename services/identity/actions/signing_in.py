"""Signing in: one look, one argon2 outside any transaction, one settlement; refusals are counted before they answer."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, select, update
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
    """What somebody at the door says. `code` is of the authenticator app or a recovery code."""

    email: str
    password: str
    code: str | None = None


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


async def sign_in(
    database: Database, secrecy: Secrecy, slug: str, attempt: SignIn, *, origin: Origin, now: datetime
) -> OpenSession:
    """Open a session. Raises WrongCredentials, SecondFactorRequired, WrongCode, TooManyAttempts.

    An address without an account takes the same work as a wrong password.
    """
    async with tenant_transaction(database, slug) as session:
        candidate = await _find_candidate(session, attempt.email, now=now)
        tenant_id = candidate.settings.tenant_id
        counters = Counters.of(secrecy, tenant=str(tenant_id), email=attempt.email, address=origin.address)
        await check_patience(session, counters, now=now)
    is_right = await is_password(candidate.password_hash, attempt.password)
    rehashed = await _rehash(candidate, attempt.password) if is_right else None
    async with database.transaction(tenant_id) as session:
        refusal = None if is_right else WrongCredentials()
        refusal = refusal or await _check_code(session, secrecy, candidate, attempt.code, now=now)
        if refusal is None:
            await count_success(session, counters, now=now)
            opened = await _admit(session, candidate, attempt.password, rehashed, origin=origin, now=now)
        elif not isinstance(refusal, SecondFactorRequired):
            await _note_failure(session, candidate, counters, origin=origin, now=now)
    if refusal is not None:
        raise refusal
    return opened


async def _find_candidate(session: AsyncSession, email: str, *, now: datetime) -> Candidate:
    """One statement, whether or not there is such an account."""
    mine = (Account.email == email) & Account.state.in_([AccountState.ACTIVE, AccountState.DEACTIVATING])
    wanted = (
        select(TenantSettings, Account, SecondFactor, Deactivation, Profile.first_name, Profile.last_name)
        .outerjoin(Account, mine)
        .outerjoin(SecondFactor, SecondFactor.account_id == Account.id)
        .outerjoin(Deactivation, Deactivation.account_id == Account.id)
        .outerjoin(Profile, Profile.account_id == Account.id)
    )
    row: Row[tuple[TenantSettings, Account, SecondFactor, Deactivation, str, str]] = (await session.execute(wanted)).one()
    settings, account, factor, deactivation, first_name, last_name = row
    if deactivation is not None and not deactivation.can_be_undone_by_signing_in(now):
        return Candidate(None, settings, [], None, None)
    names = [name for name in (first_name, last_name) if name]
    return Candidate(account, settings, names, factor, deactivation)


async def _rehash(candidate: Candidate, password: str) -> str | None:
    if candidate.password_hash is None or not needs_rehash(candidate.password_hash):
        return None
    return await digest_password(password)


async def _check_code(
    session: AsyncSession, secrecy: Secrecy, candidate: Candidate, code: str | None, *, now: datetime
) -> Problem | None:
    if candidate.factor is None or candidate.factor.confirmed_at is None:
        return None
    if code is None:
        return SecondFactorRequired()
    if await is_valid_code(session, secrecy, candidate.factor.account_id, code, now=now):
        return None
    return WrongCode()


async def _admit(
    session: AsyncSession,
    candidate: Candidate,
    password: str,
    rehashed: str | None,
    *,
    origin: Origin,
    now: datetime,
) -> OpenSession:
    account, settings = candidate.account, candidate.settings
    assert account is not None
    if candidate.deactivation is not None:
        await undo(session, account.id, origin=origin, now=now)
    changes: dict[str, object] = {"last_seen_at": now, "inactivity_warned_on": None}
    own_words = [account.email, *candidate.names]
    if account.password_demand is None and find_weaknesses(settings, account.role_set, password, own_words=own_words):
        changes["password_demand"] = account.password_demand = PasswordDemand.WEAK
    if rehashed is not None:
        changes["password_hash"] = rehashed
    is_new_device = await _is_new_device(session, account, origin)
    await session.execute(update(Account).where(Account.id == account.id).values(changes))
    row, token = await open_session(session, account.id, origin=origin, now=now)
    await record(session, account.id, Happening.SIGNED_IN, origin=origin, now=now)
    if is_new_device:
        await alert(session, account.id, SecurityKind.NEW_SIGN_IN)
    return OpenSession(row, account, settings, token)


async def _is_new_device(session: AsyncSession, account: Account, origin: Origin) -> bool:
    """Whether earlier sign-ins exist, and none of them from this kind of device."""
    earlier = select(SecurityEntry.device == origin.device).where(
        SecurityEntry.account_id == account.id, SecurityEntry.happening == Happening.SIGNED_IN
    )
    seen = set((await session.scalars(earlier.distinct())).all())
    return seen == {False}


async def _note_failure(
    session: AsyncSession, candidate: Candidate, counters: Counters, *, origin: Origin, now: datetime
) -> None:
    await count_failure(session, counters, now=now)
    if candidate.account is not None:
        await record(session, candidate.account.id, Happening.SIGN_IN_FAILED, origin=origin, now=now)
