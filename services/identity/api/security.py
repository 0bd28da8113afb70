"""One's own sessions, password, address, second factor and security log."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Response

from services.identity import totp
from services.identity.actions import credentials, emails, second_factor, sessions, step_up
from services.identity.actions.accounts import get_account
from services.identity.actions.credentials import is_restricted
from services.identity.actions.security_log import list_entries
from services.identity.actions.tenants import get_settings
from services.identity.api.needs import Crypto, From, Keys, Now, Store
from services.identity.errors import (
    NoSecondFactor,
    SecondFactorPresent,
    SecondFactorRequired,
    SessionEnded,
    TooManyAttempts,
    UnknownSession,
    WeakPassword,
    WrongCode,
    WrongPassword,
)
from services.identity.schemas.entering import (
    AcceptedOut,
    CodeIn,
    ConfirmationIn,
    EmailChangeIn,
    FactorOut,
    PasswordChangeIn,
    RecoveryCodesOut,
    SecurityEntryOut,
    SessionOut,
    SessionsOut,
    SteppedUpOut,
)
from services.identity.tokens import ACCESS_LIFETIME, mint_access_token
from shared.auth import AnyCaller, AnySession, CurrentCaller, RecentCaller, Session, StepUpRequired
from shared.http import Page, Paging
from shared.problems import declared

router = APIRouter(tags=["security"])


@router.get("/sessions")
async def list_sessions(caller: AnyCaller, session: AnySession, now: Now) -> SessionsOut:
    """Where one is signed in, last used first."""
    rows = await sessions.list_sessions(session, caller.account_id, now=now)
    shown = [
        SessionOut(
            id=row.id,
            device=row.device,
            address=row.address,
            created_at=row.created_at,
            last_used_at=row.last_used_at,
            is_current=row.id == caller.session_id,
        )
        for row in rows
    ]
    return SessionsOut(data=shown)


@router.delete("/sessions/{session_id}", status_code=204, responses=declared(UnknownSession))
async def end_session(session_id: UUID, caller: AnyCaller, session: AnySession, origin: From, now: Now) -> None:
    """Sign out one device, here and in every service."""
    account = await get_account(session, caller.account_id)
    await sessions.end_session(session, account, session_id, own=caller.session_id, origin=origin, now=now)


@router.delete("/sessions", status_code=204)
async def end_other_sessions(caller: AnyCaller, session: AnySession, origin: From, now: Now) -> None:
    """Sign out every device but this one."""
    account = await get_account(session, caller.account_id)
    await sessions.end_other_sessions(session, account, own=caller.session_id, origin=origin, now=now)


@router.put(
    "/sessions/current/confirmation",
    responses=declared(WrongPassword, SecondFactorRequired, WrongCode, SessionEnded, TooManyAttempts),
)
async def confirm_session(
    body: ConfirmationIn, caller: CurrentCaller, database: Store, secrecy: Crypto, keys: Keys, origin: From, now: Now
) -> SteppedUpOut:
    """Give the password again; the new access token opens what asks for that, for five minutes.

    Where another password is demanded or due, it opens nothing but the way to choose one.
    """
    confirmed = await step_up.confirm_session(
        database, secrecy, caller, password=body.password, code=body.code, origin=origin, now=now
    )
    key = await keys.live_key()
    account, restricted = confirmed.account, is_restricted(confirmed.account, confirmed.settings, now=now)
    token = mint_access_token(key, confirmed.session, roles=account.role_set, is_restricted=restricted, now=now)
    return SteppedUpOut(access_token=token, expires_in=int(ACCESS_LIFETIME.total_seconds()))


@router.put("/password", status_code=204, responses=declared(WrongPassword, WeakPassword, TooManyAttempts))
async def change_password(
    body: PasswordChangeIn, caller: AnyCaller, database: Store, secrecy: Crypto, origin: From, now: Now
) -> None:
    """Choose another password; every other session ends. This one is no longer restricted once refreshed."""
    await credentials.change_password(
        database,
        secrecy,
        caller,
        current_password=body.current_password,
        new_password=body.new_password,
        origin=origin,
        now=now,
    )


@router.post("/email-changes", status_code=202, responses=declared(StepUpRequired, TooManyAttempts))
async def request_email_change(
    body: EmailChangeIn, caller: RecentCaller, session: Session, origin: From, now: Now
) -> AcceptedOut:
    """Ask for another address: it counts once the link mailed there is followed."""
    account = await get_account(session, caller.account_id)
    await emails.request_email_change(session, account, body.new_email, origin=origin, now=now)
    return AcceptedOut()


@router.post("/second-factor", status_code=201, responses=declared(StepUpRequired, SecondFactorPresent))
async def prepare_second_factor(caller: RecentCaller, session: Session, secrecy: Crypto) -> FactorOut:
    """Get the secret for an authenticator app."""
    secret = await second_factor.prepare_factor(session, secrecy, caller.account_id)
    account = await get_account(session, caller.account_id)
    settings = await get_settings(session)
    return FactorOut(secret=totp.text(secret), uri=totp.uri(secret, issuer=settings.name, account=account.email))


@router.put("/second-factor/confirmation", responses=declared(StepUpRequired, NoSecondFactor, WrongCode))
async def confirm_second_factor(
    body: CodeIn, caller: RecentCaller, session: Session, secrecy: Crypto, origin: From, now: Now
) -> RecoveryCodesOut:
    """Prove the app with a first code; from now on signing in asks for one."""
    codes = await second_factor.confirm_factor(session, secrecy, caller.account_id, body.code, origin=origin, now=now)
    return RecoveryCodesOut(codes=codes)


@router.delete("/second-factor", status_code=204, responses=declared(StepUpRequired, NoSecondFactor))
async def remove_second_factor(caller: RecentCaller, session: Session, origin: From, now: Now) -> None:
    """Sign in with the password alone again."""
    await second_factor.remove_factor(session, caller.account_id, origin=origin, now=now)


@router.get("/security-log")
async def read_security_log(
    caller: AnyCaller, session: AnySession, paging: Paging, response: Response
) -> Page[SecurityEntryOut]:
    """What happened to one's account, newest first."""
    after = paging.after(datetime, UUID)
    rows = await list_entries(session, caller.account_id, limit=paging.limit + 1, after=after)
    shown, following = paging.page(rows, lambda row: (row.happened_at, row.id))
    return Page(data=[SecurityEntryOut.model_validate(row) for row in shown], next_cursor=following)
