"""Quotes: offered and revised by staff, answered by the member; an accepted one orders."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.orders import place_order
from services.billing.actions.parties import buyer_of, ensure_party, find_account_id
from services.billing.errors import MemberUnknown, QuoteAnswered, QuoteExpired, QuoteNotFound, ValidityPassed
from services.billing.local_time import local_day
from services.billing.models import OrderOrigin, Quote, QuoteState
from services.billing.numbering import take_number
from services.billing.vat import total_of
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.billing import QuoteIssued
from shared.http import check_match

VALID_FOR = timedelta(days=30)


async def issue_quote(
    session: AsyncSession,
    account_id: UUID,
    *,
    issued_by: UUID,
    currency: str,
    lines: list[dict[str, Any]],
    buyer_name: str,
    now: datetime,
    valid_until: date | None = None,
) -> Quote:
    """Offer something to a member: numbered, valid to the end of `valid_until` (30 days if None).

    Raises ValidityPassed.
    """
    party_id = await ensure_party(session, account_id)
    buyer = await buyer_of(session, party_id, fallback_name=buyer_name)
    today = await local_day(session, now)
    validity = _validity(valid_until, today)
    taken = await take_number(session, kind="quote", today=today)
    row = {
        "party_id": party_id,
        "number": taken.number,
        "year": taken.on.year,
        "revision": 1,
        "issued_on": taken.on,
        "valid_until": validity,
        "currency": currency,
        "lines": lines,
        "buyer": buyer,
        "issued_by": issued_by,
    }
    return await _offer(session, row, account_id)


async def revise_quote(
    session: AsyncSession,
    quote: Quote,
    *,
    issued_by: UUID,
    currency: str,
    lines: list[dict[str, Any]],
    now: datetime,
    valid_until: date | None,
) -> Quote:
    """Replace an unanswered quote by its next revision, under the same number.

    Raises QuoteAnswered, ValidityPassed, or MemberUnknown when the member has gone.
    """
    account_id = await find_account_id(session, quote.party_id)
    if account_id is None:
        raise MemberUnknown
    _answer(quote, QuoteState.REPLACED)
    today = await local_day(session, now)
    row = {
        "party_id": quote.party_id,
        "number": quote.number,
        "year": quote.year,
        "revision": quote.revision + 1,
        "issued_on": today,
        "valid_until": _validity(valid_until, today),
        "currency": currency,
        "lines": lines,
        "buyer": await buyer_of(session, quote.party_id, fallback_name=(quote.buyer or {})["name"]),
        "issued_by": issued_by,
    }
    return await _offer(session, row, account_id)


def _validity(valid_until: date | None, today: date) -> date:
    if valid_until is not None and valid_until < today:
        raise ValidityPassed
    return valid_until or today + VALID_FOR


async def _offer(session: AsyncSession, row: dict[str, Any], account_id: UUID) -> Quote:
    more = {"id": uuid7(), "tenant_id": tenant_of(session), "state": QuoteState.ISSUED, "version": 1}
    values = {**row, **more, "total_minor": total_of(row["lines"])}
    quote = (await session.execute(insert(Quote).values(values).returning(Quote))).scalar_one()
    event = QuoteIssued(
        tenant_id=quote.tenant_id,
        quote_id=quote.id,
        account_id=account_id,
        total_minor=quote.total_minor,
        currency=quote.currency,
        valid_until=quote.valid_until,
    )
    await publish(session, event)
    return quote


async def get_quote(session: AsyncSession, quote_id: UUID, *, party_id: UUID | None) -> Quote:
    """Return a quote; with `party_id`, only that party's. Raises QuoteNotFound."""
    quote = await session.get(Quote, quote_id)
    if quote is None or (party_id is not None and quote.party_id != party_id):
        raise QuoteNotFound
    return quote


async def lock_quote(session: AsyncSession, quote_id: UUID, *, party_id: UUID | None, if_match: str | None) -> Quote:
    """Return a quote to be answered or revised; whoever comes second waits and sees the answer."""
    quote = await get_quote(session, quote_id, party_id=party_id)
    await session.refresh(quote, with_for_update=True)
    check_match(if_match, quote.version)
    return quote


async def list_quotes(
    session: AsyncSession, *, party_id: UUID | None, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Quote]:
    """Return up to `limit + 1` quotes, newest first, after an id (ids grow with time)."""
    statement = select(Quote).order_by(Quote.id.desc()).limit(limit + 1)
    if party_id is not None:
        statement = statement.where(Quote.party_id == party_id)
    if after is not None:
        statement = statement.where(Quote.id < after[0])
    return (await session.execute(statement)).scalars().all()


async def accept_quote(session: AsyncSession, account_id: UUID, quote: Quote, *, now: datetime) -> Quote:
    """Accept, which orders what was offered. Raises QuoteAnswered or QuoteExpired."""
    today = await local_day(session, now)
    if quote.state is QuoteState.ISSUED and today > quote.valid_until:
        raise QuoteExpired
    _answer(quote, QuoteState.ACCEPTED)
    quote.accepted_on = today
    order = await place_order(session, account_id, origin=OrderOrigin.QUOTE, currency=quote.currency, lines=quote.lines)
    quote.order_id = order.id if order else None
    await session.flush()
    return quote


async def decline_quote(session: AsyncSession, quote: Quote) -> Quote:
    """Raises QuoteAnswered."""
    _answer(quote, QuoteState.DECLINED)
    await session.flush()
    return quote


def _answer(quote: Quote, state: QuoteState) -> None:
    if quote.state is not QuoteState.ISSUED:
        raise QuoteAnswered
    quote.state = state
    quote.version += 1
