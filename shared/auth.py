"""Who is calling: every service verifies access tokens itself and asks its own database who is still welcome."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Column, DateTime, Table, Uuid, text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import PLATFORM
from shared.events.identity import Role
from shared.privacy.marks import Erase, Sweep, no_subject, not_personal, person_ref
from shared.problems import AccountErased, Forbidden, Unauthenticated

ISSUER = "cowork"
AUDIENCE = "cowork"
ALGORITHM = "EdDSA"
STEP_UP_MINUTES = 5
CACHED_TOKENS = 4096
KEYS_TTL_SECONDS = 300
KEYS_RETRY_SECONDS = 2

revoked_sessions = Table(
    "revoked_sessions",
    PLATFORM,
    Column("session_id", Uuid, primary_key=True, info=not_personal("session id, gone with its tokens")),
    Column("tenant_id", Uuid, nullable=False, info=not_personal("tenant")),
    Column("account_id", Uuid, nullable=True, info=person_ref(erase=Erase.NULL)),
    Column("until", DateTime(timezone=True), nullable=False, info=not_personal("instant")),
    info=no_subject("sessions that are refused", sweep=Sweep("access token lifetime", "until < :now")),
)


class PasswordExpired(Forbidden):
    """Your password has expired: choose a new one first."""


class StepUpRequired(Forbidden):
    """Confirm your password first: this needs a sign-in of the last few minutes."""


class RoleRequired(Forbidden):
    """Your role does not allow this."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified access token. `authenticated_at` is when the password was last given."""

    tenant_id: UUID
    account_id: UUID
    session_id: UUID
    roles: frozenset[Role]
    authenticated_at: datetime
    is_restricted: bool
    expires_at: datetime

    def has_role(self, *roles: Role) -> bool:
        return not self.roles.isdisjoint(roles)

    @property
    def is_staff(self) -> bool:
        return self.has_role(Role.MANAGER, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class ServiceCaller:
    """A verified token of another service."""

    service: str
    scopes: frozenset[str]
    expires_at: datetime


FetchKeys = Callable[[], Awaitable[list[dict[str, Any]]]]


class TokenVerifier:
    """Verifies tokens against identity's published keys; keys and verified tokens are cached briefly.

    The cache holds what a signature says, never whether the session is still welcome: that is asked of the
    database in every request (`check_standing`).
    """

    def __init__(self, fetch_keys: FetchKeys) -> None:
        self._fetch_keys = fetch_keys
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._verified: OrderedDict[bytes, Caller | ServiceCaller] = OrderedDict()

    async def verify(self, token: str) -> Caller | ServiceCaller:
        """Return whose token this is. Raises Unauthenticated for any token that is not valid now."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is None:
            known = await self._verify(token)
            self._verified[digest] = known
            if len(self._verified) > CACHED_TOKENS:
                self._verified.popitem(last=False)
        if known.expires_at <= datetime.now(UTC):
            raise Unauthenticated
        return known

    async def _verify(self, token: str) -> Caller | ServiceCaller:
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
            return _caller(claims)
        except (jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated from error

    async def _key(self, key_id: str) -> jwt.PyJWK:
        now = time.monotonic()
        age = now - self._fetched_at
        if age > KEYS_TTL_SECONDS or (key_id not in self._keys and age > KEYS_RETRY_SECONDS):
            published = await self._fetch_keys()
            self._keys = {key["kid"]: jwt.PyJWK(key) for key in published}
            self._fetched_at = now
        return self._keys[key_id]


def _caller(claims: dict[str, Any]) -> Caller | ServiceCaller:
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    if claims.get("typ") == "service":
        return ServiceCaller(str(claims["sub"]), frozenset(claims["scopes"]), expires_at)
    return Caller(
        tenant_id=UUID(claims["tid"]),
        account_id=UUID(claims["sub"]),
        session_id=UUID(claims["sid"]),
        roles=frozenset(Role(role) for role in claims["roles"]),
        authenticated_at=datetime.fromtimestamp(claims["auth_time"], UTC),
        is_restricted=bool(claims.get("restricted", False)),
        expires_at=expires_at,
    )


_bearer = HTTPBearer(auto_error=False, description="Access token from POST /api/identity/v1/sessions")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def _verified(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller | ServiceCaller:
    if credentials is None:
        raise Unauthenticated
    verifier: TokenVerifier = request.app.state.service.verifier
    return await verifier.verify(credentials.credentials)


async def any_session(request: Request, credentials: Credentials) -> Caller:
    """The caller, also with a restricted session (expired password). Most routes want `current_caller`."""
    caller = await _verified(request, credentials)
    if not isinstance(caller, Caller):
        raise Unauthenticated
    return caller


async def current_caller(caller: Annotated[Caller, Depends(any_session)]) -> Caller:
    if caller.is_restricted:
        raise PasswordExpired
    return caller


async def recent_caller(caller: Annotated[Caller, Depends(current_caller)]) -> Caller:
    """The caller, who gave the password within the last STEP_UP_MINUTES."""
    if datetime.now(UTC) - caller.authenticated_at > timedelta(minutes=STEP_UP_MINUTES):
        raise StepUpRequired
    return caller


async def calling_service(request: Request, credentials: Credentials) -> ServiceCaller:
    """The service that calls an /internal route."""
    caller = await _verified(request, credentials)
    if not isinstance(caller, ServiceCaller):
        raise Unauthenticated
    return caller


def requires(*roles: Role) -> Any:
    """Return a dependency that admits callers with one of `roles`: `dependencies=[requires(Role.ADMIN)]`."""

    async def check_role(caller: Annotated[Caller, Depends(current_caller)]) -> None:
        if not caller.has_role(*roles):
            raise RoleRequired

    return Depends(check_role)


# One round trip opens the tenant and asks whether session and account are still welcome.
_STANDING = text(
    "SELECT set_config('cowork.tenant', :tenant, true),"
    " EXISTS (SELECT FROM revoked_sessions WHERE session_id = :session),"
    " is_tombstoned(:tenant ::uuid, :account ::uuid)"
)


async def check_standing(session: AsyncSession, caller: Caller) -> None:
    """Admit the caller's tenant. Raises Unauthenticated for a revoked session, AccountErased for an erased account."""
    parameters = {
        "tenant": str(caller.tenant_id),
        "session": caller.session_id,
        "account": str(caller.account_id),
    }
    _, is_revoked, is_erased = (await session.execute(_STANDING, parameters)).one()
    session.info["tenant_id"] = caller.tenant_id
    if is_erased:
        raise AccountErased
    if is_revoked:
        raise Unauthenticated


@asynccontextmanager
async def caller_session(request: Request, caller: Caller) -> AsyncIterator[AsyncSession]:
    """A transaction in the caller's tenant, for routes that also ask other services (before or after it)."""
    async with request.app.state.service.database.transaction() as session:
        await check_standing(session, caller)
        yield session


async def open_session(
    request: Request, caller: Annotated[Caller, Depends(current_caller)]
) -> AsyncIterator[AsyncSession]:
    """The request's one transaction, in the caller's tenant; committed before the answer is sent."""
    async with caller_session(request, caller) as session:
        yield session


async def open_any_session(
    request: Request, caller: Annotated[Caller, Depends(any_session)]
) -> AsyncIterator[AsyncSession]:
    """Like `open_session`, also for a restricted caller (the routes that lead out of an expired password)."""
    async with caller_session(request, caller) as session:
        yield session


async def open_tenant_session(request: Request, tenant_id: UUID) -> AsyncIterator[AsyncSession]:
    """The one transaction of an /internal request, in the tenant that its query names."""
    async with request.app.state.service.database.transaction(tenant_id) as session:
        yield session


AnyCaller = Annotated[Caller, Depends(any_session)]
CurrentCaller = Annotated[Caller, Depends(current_caller)]
RecentCaller = Annotated[Caller, Depends(recent_caller)]
CallingService = Annotated[ServiceCaller, Depends(calling_service)]
# scope="function": with the default scope a failed commit would still answer 201.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]
AnySession = Annotated[AsyncSession, Depends(open_any_session, scope="function")]
InternalSession = Annotated[AsyncSession, Depends(open_tenant_session, scope="function")]
