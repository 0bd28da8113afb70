"""Signing in: one look, one argon2 outside any transaction, one settlement; refusals are counted before they answer."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from services.identity.actions.credentials import find_weaknesses
from services.identity.actions.deactivations import undo_by_signing_in
from services.identity.actions.second_factor import use_code
from services.identity.actions.security_log import alert, record
from services.identity.actions.sessions import OpenSession, new_session
from services.identity.actions.tenants import tenant_transaction
from services.identity.errors import NotDeactivating, SecondFactorRequired, WrongCode, WrongCredentials
from services.identity.models import (
    Account,
    AccountState,
    Deactivation,
    Happening,
    PasswordDemand,
    Profile,
    SecondFactor,
    TenantSettings,
)
from services.identity.origin import Origin
from services.identity.passwords import digest_password, is_password, needs_rehash
from services.identity.secrecy import Secrecy
from services.identity.throttle import Counters, check_patience, count_failure
from shared.db import Database, fetch, uuid7
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
# One round trip for all that a log-in writes. Nothing of it, and no row, when the password was replaced, or the account
# left, since it was checked. A demand or a change of roles since then holds: the account is what it is now. Returns what
# tokens say of it, and whether this kind of device is among those of earlier log-ins.
_LET_IN = """
WITH seen AS (
 UPDATE accounts SET last_seen_at = $1, inactivity_warned_on = NULL, password_hash = $3,
  password_demand = coalesce(accounts.password_demand, $2)
 WHERE id = $4 AND password_hash = $5 AND state = 'active' RETURNING id, tenant_id, roles, password_demand),
opened AS (
 INSERT INTO sessions (id, tenant_id, account_id, token_digest, rotated_at, created_at, authenticated_at, last_used_at,
  expires_at, device, address)
 SELECT $6, tenant_id, id, $7, $1, $1, $1, $1, $8, $9, $10 FROM seen),
logged AS (
 INSERT INTO security_entries (id, tenant_id, account_id, happening, happened_at, device, address)
 SELECT $11, tenant_id, id, 'signed_in', $1, $9, $10 FROM seen),
counted AS (
 INSERT INTO attempts (digest, tenant_id, failures, blocked_until, updated_at, succeeded_at)
 SELECT $12, tenant_id, 0, $1, $1, $1 FROM seen ON CONFLICT (digest) DO UPDATE
 SET failures = 0, blocked_until = $1, updated_at = $1, succeeded_at = $1)
SELECT roles, password_demand, (SELECT bool_or(device = $9) FROM security_entries
 WHERE account_id = $4 AND happening = 'signed_in') AS is_known_device FROM seen
"""


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
            opened = await _admit(session, candidate, account, counters, attempt, rehashed=rehashed)
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
    is_right = await use_code(session, secrecy, account.id, attempt.code, origin=attempt.origin, now=attempt.at)
    return None if is_right else WrongCode()


async def _admit(
    session: AsyncSession,
    candidate: Candidate,
    account: Account,
    counters: Counters,
    attempt: SignIn,
    *,
    rehashed: str | None,
) -> OpenSession:
    """Raises WrongCredentials when the password was replaced, or the account left, since it was checked."""
    origin, now = attempt.origin, attempt.at
    if candidate.deactivation is not None:
        try:
            await undo_by_signing_in(session, account.id, origin=origin, now=now)
        except NotDeactivating as error:
            raise WrongCredentials from error
    own_words = [account.email, *candidate.names]
    is_weak = find_weaknesses(candidate.settings, account.role_set, attempt.password, own_words=own_words)
    demand = PasswordDemand.WEAK if is_weak else None
    new = new_session(session, account.id, origin=origin, now=now)
    row, password_hash = new.row, rehashed or account.password_hash
    known = (now, demand, password_hash, account.id, account.password_hash)
    device = (row.id, row.token_digest, row.expires_at, origin.device, origin.address, uuid7(), counters.pair)
    let_in = await fetch(session, _LET_IN, *known, *device)
    if not let_in:
        raise WrongCredentials
    (seen,) = let_in
    demand = PasswordDemand(seen["password_demand"]) if seen["password_demand"] else None
    set_committed_value(account, "roles", seen["roles"])
    set_committed_value(account, "password_demand", demand)
    if seen["is_known_device"] is False:
        await alert(session, account.id, SecurityKind.NEW_SIGN_IN)
    return OpenSession(row, account, candidate.settings, new.token)


async def _note_failure(
    session: AsyncSession, candidate: Candidate, refusal: Problem | None, counters: Counters, attempt: SignIn
) -> None:
    if isinstance(refusal, SecondFactorRequired):
        return
    await count_failure(session, counters, now=attempt.at)
    if candidate.account is not None:
        await record(session, candidate.account.id, Happening.SIGN_IN_FAILED, origin=attempt.origin, now=attempt.at)
