"""What the data protection officer does with a request: extend it, grant it or refuse it."""

from datetime import date, datetime, timedelta
from uuid import UUID

from dateutil.relativedelta import relativedelta
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.errors import ExtensionTooLate, GrantUnderWay, RequestClosed, RequestNotFound
from services.privacy.models import Request, RequestState
from shared.bus import publish
from shared.events.privacy import RequestAnswered, RequestExtended
from shared.http import check_match

# Longer than identity is ever waited for; whoever dies in the middle of a grant keeps the others from the request so long.
GRANT_CLAIM = timedelta(minutes=1)


async def get_open_request(session: AsyncSession, request_id: UUID, *, if_match: str | None, now: datetime) -> Request:
    """Return a request that waits for a decision, locked: of two officers, the second meets what the first has decided.

    Raises RequestNotFound, GrantUnderWay, RequestClosed; PreconditionRequired or PreconditionFailed.
    """
    request = await _lock(session, request_id)
    if request.granting_until is not None and request.granting_until > now:
        raise GrantUnderWay
    check_match(if_match, request.version)
    if request.state is not RequestState.OPEN:
        raise RequestClosed
    return request


async def extend_request(session: AsyncSession, request: Request, *, reason: str, today: date) -> None:
    """Add two months to an open request, once, inside the first month; the person is told with the reason.

    Raises ExtensionTooLate (GDPR art. 12(3)).
    """
    # Until it is extended, a request is due when its first month ends.
    if request.is_extended or today > request.due_on:
        raise ExtensionTooLate
    request.due_on = request.opened_at.date() + relativedelta(months=3)
    request.is_extended = True
    request.extension_reason = _kept_words(request, reason)
    request.version += 1
    await session.flush()
    event = RequestExtended(
        tenant_id=request.tenant_id, request_id=request.id, account_id=request.account_id, due_on=request.due_on
    )
    await publish(session, event, version=request.version)


async def answer_request(session: AsyncSession, request: Request, *, grant: bool, answer: str, now: datetime) -> None:
    """Grant or refuse an open request; a refusal's reasons are in `answer`, the remedies are added where it is shown."""
    request.state = RequestState.GRANTED if grant else RequestState.REFUSED
    request.answer = _kept_words(request, answer)
    request.granting_until = None
    request.closed_at = now
    request.version += 1
    await session.flush()
    event = RequestAnswered(tenant_id=request.tenant_id, request_id=request.id, account_id=request.account_id)
    await publish(session, event, version=request.version)


async def claim_grant(session: AsyncSession, request: Request, *, now: datetime) -> None:
    """Keep an open request from other decisions while another service does what is granted."""
    request.granting_until = now + GRANT_CLAIM
    await session.flush()


async def release_grant(session: AsyncSession, request_id: UUID) -> None:
    """Leave a claimed request as it was: it could not be granted."""
    await session.execute(update(Request).where(Request.id == request_id).values(granting_until=None))


async def close_granted(session: AsyncSession, request_id: UUID, *, answer: str, now: datetime) -> Request:
    """Close a claimed request and return it. Raises RequestClosed when the claim had lapsed and somebody decided."""
    request = await _lock(session, request_id)
    if request.state is not RequestState.OPEN:
        raise RequestClosed
    await answer_request(session, request, grant=True, answer=answer, now=now)
    return request


async def _lock(session: AsyncSession, request_id: UUID) -> Request:
    request = await session.get(Request, request_id, with_for_update=True)
    if request is None:
        raise RequestNotFound
    return request


def _kept_words(request: Request, words: str) -> str | None:
    """Whoever is erased reads no answer any more, and no further erasure would come by to take it away."""
    return words if request.account_id is not None else None
