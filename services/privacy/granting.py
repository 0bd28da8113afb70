"""Granting an erasure: identity ends the account, and only then is the request closed. No transaction is open meanwhile."""

from uuid import UUID

from services.privacy.actions import desk
from services.privacy.errors import LastAdministrator
from services.privacy.models import Request, RequestKind
from shared.db import utc_now
from shared.internal import Internal, ServiceDown
from shared.problems import BadGateway, Gone, NotFound, Problem
from shared.service import Service


def ends_account(request: Request, *, grant: bool) -> bool:
    """Whether this decision has an account to end: an erasure is granted to somebody who is still there."""
    return grant and request.kind is RequestKind.ERASURE and request.account_id is not None


async def grant_erasure(service: Service, claimed: Request, *, answer: str) -> Request:
    """End the account of a claimed request, close the request and return it; doing so twice ends the account once.

    Raises LastAdministrator, or BadGateway when identity does not answer; the request is open then as it was.
    """
    assert claimed.account_id is not None
    try:
        await _end_account(service.internal, claimed.tenant_id, claimed.account_id)
    except Problem:
        async with service.database.transaction(claimed.tenant_id) as session:
            await desk.release_grant(session, claimed.id)
        raise
    # In nobody's name: an officer who is granted their own request is signed out by now.
    async with service.database.transaction(claimed.tenant_id) as session:
        return await desk.close_granted(session, claimed.id, answer=answer, now=utc_now())


async def _end_account(internal: Internal, tenant_id: UUID, account_id: UUID) -> None:
    try:
        # Asked again, identity answers with the deactivation that is under way.
        await internal.post("identity", f"accounts/{account_id}/deactivation", {}, tenant_id=tenant_id)
    except Gone:
        # The person is erased everywhere already, and their case is completed: there is no more to grant.
        return
    except NotFound as refusal:
        # Whoever has written to the officer is known there: whatever answers so is not to be relied on.
        raise BadGateway from refusal
    except ServiceDown as refusal:
        if refusal.members.get("status_seen") == LastAdministrator.status:
            raise LastAdministrator from refusal
        raise
