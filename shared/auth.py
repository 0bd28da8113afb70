"""Who is calling: every service verifies access tokens itself and asks its own database who is still welcome."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy import Column, DateTime, Table, Uuid
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import PLATFORM, Database, fetch
from shared.events.identity import Role
from shared.privacy.marks import Erase, Sweep, no_subject, not_personal, person_ref
from shared.problems import Forbidden, Unauthenticated

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


class _Bearer(HTTPBearer):
    """Declares the bearer token in OpenAPI and verifies it in the same step: each step on the way to a caller costs
    the framework as much as it costs us to verify one."""

    def __init__(self, *, admits_restricted: bool) -> None:
        description = "Access token from POST /api/identity/v1/sessions"
        super().__init__(auto_error=False, scheme_name="HTTPBearer", description=description)
        self._admits_restricted = admits_restricted

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]
        caller = await _verified(request)
        if not isinstance(caller, Caller):
            raise Unauthenticated
        if caller.is_restricted and not self._admits_restricted:
            raise PasswordExpired
        return caller


class _ServiceBearer(_Bearer):
    """The service that calls an /internal route."""

    async def __call__(self, request: Request) -> ServiceCaller:  # type: ignore[override]
        caller = await _verified(request)
        if not isinstance(caller, ServiceCaller):
            raise Unauthenticated
        return caller


async def _verified(request: Request) -> Caller | ServiceCaller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    verifier: TokenVerifier = request.app.state.service.verifier
    return await verifier.verify(token.strip())


current_caller = _Bearer(admits_restricted=False)
# Also with a restricted session (expired password).
any_session = _Bearer(admits_restricted=True)
calling_service = _ServiceBearer(admits_restricted=False)


async def recent_caller(caller: Annotated[Caller, Depends(current_caller)]) -> Caller:
    """The caller, who gave the password within the last STEP_UP_MINUTES."""
    if datetime.now(UTC) - caller.authenticated_at > timedelta(minutes=STEP_UP_MINUTES):
        raise StepUpRequired
    return caller


def requires(*roles: Role) -> Any:
    """Return a dependency that admits callers with one of `roles`: `dependencies=[requires(Role.ADMIN)]`."""

    async def check_role(caller: Annotated[Caller, Depends(current_caller)]) -> None:
        if not caller.has_role(*roles):
            raise RoleRequired

    return Depends(check_role)


# Asks in one call whether session and account are still welcome, and admits the tenant's rows. It raises rather than
# answers, so that it can travel with BEGIN; `problems` says what its SQLSTATEs mean.
FUNCTIONS = (
    "CREATE OR REPLACE FUNCTION admit(tenant uuid, account uuid, session uuid) RETURNS void LANGUAGE plpgsql AS $$"
    " BEGIN PERFORM set_config('cowork.tenant', tenant::text, true);"
    " IF is_tombstoned(tenant, account) THEN RAISE EXCEPTION 'erased' USING ERRCODE = 'CW410'; END IF;"
    " IF EXISTS (SELECT FROM revoked_sessions r WHERE r.session_id = admit.session)"
    " THEN RAISE EXCEPTION 'revoked' USING ERRCODE = 'CW401'; END IF; END $$",
)


def _admitting(caller: Caller) -> str:
    return f"SELECT admit('{caller.tenant_id}', '{caller.account_id}', '{caller.session_id}')"


async def check_standing(session: AsyncSession, caller: Caller) -> None:
    """Admit the caller's tenant. Raises a refusal that is answered as Unauthenticated or AccountErased."""
    session.info["tenant_id"] = caller.tenant_id
    await fetch(session, "SELECT admit($1, $2, $3)", caller.tenant_id, caller.account_id, caller.session_id)


def caller_session(request: Request, caller: Caller) -> AbstractAsyncContextManager[AsyncSession]:
    """A transaction in the caller's tenant, for routes that also ask other services (before or after it).

    Entering it raises a refusal that is answered as Unauthenticated (revoked session) or AccountErased.
    """
    database: Database = request.app.state.service.database
    return database.transaction(caller.tenant_id, admitting=_admitting(caller))


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
