"""Routes without a token, below /tenants/{slug}: registering, signing in, and where mailed links lead."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response

from services.identity.actions import credentials, emails, registration, signing_in
from services.identity.actions.credentials import is_restricted
from services.identity.actions.sessions import OpenSession, refresh
from services.identity.actions.tenants import get_settings
from services.identity.api.needs import PUBLIC, Crypto, From, Keys, Now, Store, TenantSession, even_time
from services.identity.errors import (
    LinkSpent,
    SecondFactorRequired,
    SessionEnded,
    SignInBusy,
    TooManyAttempts,
    UnknownTenant,
    WeakPassword,
    WrongCode,
    WrongCredentials,
)
from services.identity.keyring import KeyRing
from services.identity.models import TenantSettings
from services.identity.schemas.administration import TenantDoorOut
from services.identity.schemas.entering import (
    AcceptanceIn,
    AcceptedOut,
    LinkTokenIn,
    NewPasswordIn,
    RefreshIn,
    RegistrationIn,
    ResetRequestIn,
    SignInIn,
    TokensOut,
    VerificationIn,
)
from services.identity.secrecy import Secrecy
from services.identity.tokens import ACCESS_LIFETIME, mint_access_token
from shared.problems import declared

router = APIRouter(tags=["door"])


@router.get("/tenants/{slug}", openapi_extra=PUBLIC, responses=declared(UnknownTenant))
async def show_door(session: TenantSession) -> TenantDoorOut:
    """What a sign-in page shows of a tenant."""
    settings: TenantSettings = await get_settings(session)
    return TenantDoorOut.model_validate(settings)


@router.post(
    "/tenants/{slug}/accounts",
    status_code=202,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, WeakPassword, TooManyAttempts, SignInBusy),
)
async def register(
    slug: str, body: RegistrationIn, database: Store, secrecy: Crypto, origin: From, now: Now
) -> AcceptedOut:
    """Ask for an account: e-mail address and password are all that is needed."""
    async with even_time():
        await registration.register(
            database,
            secrecy,
            slug,
            email=body.email,
            password=body.password,
            language=body.language,
            origin=origin,
            now=now,
        )
    return AcceptedOut()


@router.post(
    "/tenants/{slug}/verifications",
    status_code=204,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, LinkSpent, WrongCredentials),
)
async def verify_email(slug: str, body: VerificationIn, database: Store, secrecy: Crypto, now: Now) -> None:
    """Open the account with the mailed token and the password chosen at registration."""
    await registration.verify(database, secrecy, slug, token=body.token, password=body.password, now=now)


@router.post(
    "/tenants/{slug}/invitation-acceptances",
    status_code=204,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, LinkSpent, WeakPassword),
)
async def accept_invitation(slug: str, body: AcceptanceIn, database: Store, secrecy: Crypto, now: Now) -> None:
    """Open the invited account with a password of one's own."""
    await registration.accept_invitation(database, secrecy, slug, token=body.token, password=body.password, now=now)


@router.post(
    "/tenants/{slug}/sessions",
    status_code=201,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, WrongCredentials, SecondFactorRequired, WrongCode, TooManyAttempts, SignInBusy),
)
async def sign_in(
    slug: str,
    body: SignInIn,
    response: Response,
    database: Store,
    secrecy: Crypto,
    keys: Keys,
    origin: From,
    now: Now,
) -> TokensOut:
    """Sign in: an access token for five minutes and a refresh token for thirty days, used once each."""
    attempt = signing_in.SignIn(body.email, body.password, body.code, origin=origin, at=now)
    opened = await signing_in.sign_in(database, secrecy, slug, attempt)
    response.headers["Cache-Control"] = "no-store"
    return await _tokens(opened, secrecy, keys, now=now)


@router.post("/tokens", status_code=201, openapi_extra=PUBLIC, responses=declared(SessionEnded))
async def refresh_tokens(
    body: RefreshIn, response: Response, database: Store, secrecy: Crypto, keys: Keys, origin: From, now: Now
) -> TokensOut:
    """Exchange a refresh token for new tokens; presenting an old one again ends the session."""
    opened = await refresh(database, secrecy, body.refresh_token, origin=origin, now=now)
    response.headers["Cache-Control"] = "no-store"
    return await _tokens(opened, secrecy, keys, now=now)


@router.post(
    "/tenants/{slug}/password-resets", status_code=202, openapi_extra=PUBLIC, responses=declared(UnknownTenant)
)
async def request_reset(slug: str, body: ResetRequestIn, database: Store, now: Now) -> AcceptedOut:
    """Have a link mailed with which to choose a new password."""
    async with even_time():
        await credentials.request_reset(database, slug, email=body.email, now=now)
    return AcceptedOut()


@router.put(
    "/tenants/{slug}/password",
    status_code=204,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, LinkSpent, WeakPassword),
)
async def reset_password(
    slug: str, body: NewPasswordIn, database: Store, secrecy: Crypto, origin: From, now: Now
) -> None:
    """Choose a new password with the mailed token; every session ends."""
    await credentials.reset_password(
        database, secrecy, slug, token=body.token, new_password=body.new_password, origin=origin, now=now
    )


@router.post(
    "/tenants/{slug}/email-confirmations",
    status_code=204,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, LinkSpent),
)
async def confirm_email(body: LinkTokenIn, session: TenantSession, secrecy: Crypto, origin: From, now: Now) -> None:
    """Make a new address the account's, with the token mailed there."""
    await emails.confirm_email_change(session, secrecy, body.token, origin=origin, now=now)


@router.post(
    "/tenants/{slug}/email-change-undos",
    status_code=204,
    openapi_extra=PUBLIC,
    responses=declared(UnknownTenant, LinkSpent),
)
async def undo_email_change(body: LinkTokenIn, session: TenantSession, secrecy: Crypto, origin: From, now: Now) -> None:
    """Give the account back to its former address, with the token mailed there."""
    await emails.undo_email_change(session, secrecy, body.token, origin=origin, now=now)


@router.get("/jwks.json", openapi_extra=PUBLIC)
async def publish_keys(keys: Keys, response: Response) -> dict[str, list[dict[str, Any]]]:
    """The public keys of access tokens (RFC 7517)."""
    response.headers["Cache-Control"] = "public, max-age=60"
    return {"keys": await keys.published()}


async def _tokens(opened: OpenSession, secrecy: Secrecy, keys: KeyRing, *, now: datetime) -> TokensOut:
    account = opened.account
    restricted = is_restricted(account, opened.settings, now=now)
    key = await keys.live_key()
    return TokensOut(
        access_token=mint_access_token(key, opened.session, roles=account.role_set, is_restricted=restricted, now=now),
        expires_in=int(ACCESS_LIFETIME.total_seconds()),
        refresh_token=opened.refresh_token.text(secrecy),
        session_id=opened.session.id,
        account_id=account.id,
        tenant_id=account.tenant_id,
        roles=sorted(account.role_set),
        language=account.language,
        is_restricted=restricted,
    )
