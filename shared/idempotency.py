"""Idempotency-Key: a repeated POST answers what the first one made, within 24 hours.

Stored are status, the id of what was made and a keyed digest of the body; never the body, which is personal.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from sqlalchemy import Column, DateTime, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.auth import Caller, current_caller, open_session
from shared.db import PLATFORM, fetch, tenant_of
from shared.privacy.marks import Erase, Sweep, no_subject, not_personal, person_ref
from shared.problems import BadRequest, Conflict, Unprocessable

Made = TypeVar("Made")

idempotency_keys = Table(
    "idempotency_keys",
    PLATFORM,
    Column("digest", LargeBinary, primary_key=True, info=not_personal("keyed digest of account, route and key")),
    Column("tenant_id", Uuid, nullable=False, info=not_personal("tenant")),
    Column("account_id", Uuid, nullable=False, info=person_ref(erase=Erase.DELETE_ROW)),
    Column("body_digest", LargeBinary, nullable=False, info=not_personal("keyed digest, the key is the service's")),
    Column("made_id", Text, nullable=False, info=not_personal("id of the resource made")),
    Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("now()"),
        info=not_personal("instant"),
    ),
    info=no_subject("answers to repeated requests", sweep=Sweep("24 hours", "created_at < :now - interval '24 hours'")),
)

# Two statements of one function, because the second must see what the holder of the lock has committed meanwhile.
FUNCTIONS = (
    "CREATE OR REPLACE FUNCTION claim_key(wanted bytea, OUT is_busy boolean, OUT body_digest bytea, OUT made_id text)"
    " LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
    " is_busy := NOT pg_try_advisory_xact_lock(('x' || encode(substring(wanted FOR 8), 'hex'))::bit(64)::bigint);"
    " IF NOT is_busy THEN SELECT k.body_digest, k.made_id INTO body_digest, made_id FROM idempotency_keys k"
    " WHERE k.digest = wanted; END IF; END $$",
)
_REMEMBER = (
    "INSERT INTO idempotency_keys (digest, tenant_id, account_id, body_digest, made_id) VALUES ($1, $2, $3, $4, $5)"
)


class IdempotencyKeyRequired(BadRequest):
    """Send an Idempotency-Key header (any unique text of up to 200 characters) so that a repeat is safe."""


class IdempotencyKeyReused(Unprocessable):
    """This Idempotency-Key was used with another body."""


class RequestInProgress(Conflict):
    """A request with this Idempotency-Key is being served: wait for its answer."""

    retry_after_seconds = 1


class Once:
    """Makes something once per caller, route and Idempotency-Key: `await once(make, load)`."""

    def __init__(
        self, session: AsyncSession, response: Response, *, account_id: UUID, digest: bytes, body: bytes
    ) -> None:
        self._session = session
        self._response = response
        self._account_id = account_id
        self._digest = digest
        self._body = body

    async def __call__(
        self,
        make: Callable[[], Awaitable[Made]],
        load: Callable[[UUID], Awaitable[Made]],
        *,
        made_id: Callable[[Made], UUID] = lambda made: made.id,  # type: ignore[attr-defined]
    ) -> Made:
        """Return what `make` makes, or `load(id)` of what the first request made.

        Raises IdempotencyKeyReused (422) for another body and RequestInProgress (409) while the first one runs.
        """
        known = await self._claim()
        if known is not None:
            self._response.headers["Idempotency-Replayed"] = "true"
            return await load(known)
        made = await make()
        values = (self._digest, tenant_of(self._session), self._account_id, self._body, str(made_id(made)))
        await fetch(self._session, _REMEMBER, *values)
        return made

    async def _claim(self) -> UUID | None:
        """Return what the first request made, or None when this one is the first."""
        (row,) = await fetch(self._session, "SELECT * FROM claim_key($1)", self._digest)
        if row["is_busy"]:
            raise RequestInProgress
        if row["made_id"] is None:
            return None
        if not hmac.compare_digest(row["body_digest"], self._body):
            raise IdempotencyKeyReused
        return UUID(row["made_id"])


async def _once(
    request: Request,
    response: Response,
    session: Annotated[AsyncSession, Depends(open_session, scope="function")],
    caller: Annotated[Caller, Depends(current_caller)],
    idempotency_key: Annotated[
        str | None, Header(max_length=200, description="unique text that makes a repeat safe")
    ] = None,
) -> Once:
    if not idempotency_key:
        raise IdempotencyKeyRequired
    secret = request.app.state.service.settings.digest_key.get_secret_value().encode()
    route = f"{request.method} {request.url.path}"
    scope = f"{caller.tenant_id}\n{caller.account_id}\n{route}\n{idempotency_key}"
    digest = hmac.digest(secret, scope.encode(), hashlib.sha256)
    body = hmac.digest(secret, await request.body(), hashlib.sha256)
    return Once(session, response, account_id=caller.account_id, digest=digest, body=body)


Idempotent = Annotated[Once, Depends(_once)]
