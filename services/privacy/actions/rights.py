"""What a person may do with their data: consent, ask the officer, fetch a copy; and what stops an erasure."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from dateutil.relativedelta import relativedelta
from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.errors import ExportNotFound, RequestNotFound
from services.privacy.models import (
    Consent,
    DataExport,
    ExportState,
    Officer,
    Request,
    RequestKind,
    RequestState,
)
from shared.auth import Caller
from shared.bus import publish
from shared.db import tenant_of, uuid7, wake_after_commit
from shared.events import SERVICES
from shared.events.identity import Role
from shared.events.privacy import (
    ConsentChanged,
    ConsentPurpose,
    HoldGround,
    HoldLifted,
    HoldPlaced,
    RequestOpened,
)


async def current_consents(session: AsyncSession, account_id: UUID) -> dict[ConsentPurpose, bool]:
    """Return the state of every purpose; what was never given is not given."""
    latest = (
        select(Consent.purpose, Consent.is_given)
        .where(Consent.account_id == account_id)
        .distinct(Consent.purpose)
        .order_by(Consent.purpose, Consent.id.desc())
    )
    given = {row.purpose: row.is_given for row in await session.execute(latest)}
    return {purpose: given.get(purpose, False) for purpose in ConsentPurpose}


async def change_consent(session: AsyncSession, account_id: UUID, purpose: ConsentPurpose, *, given: bool) -> None:
    """Give or withdraw consent; effective for the next message."""
    consent = Consent(tenant_id=tenant_of(session), account_id=account_id, purpose=purpose, is_given=given)
    session.add(consent)
    event = ConsentChanged(tenant_id=tenant_of(session), account_id=account_id, purpose=purpose, given=given)
    await publish(session, event)


async def officer_contact(session: AsyncSession) -> Officer | None:
    return (await session.execute(select(Officer))).scalar_one_or_none()


async def set_officer(session: AsyncSession, *, contact: str) -> None:
    """Publish how to reach the data protection officer."""
    statement = upsert(Officer).values(tenant_id=tenant_of(session), contact=contact, version=1)
    update = {"contact": contact, "version": Officer.version + 1}
    await session.execute(statement.on_conflict_do_update(index_elements=["tenant_id"], set_=update))


async def open_request(
    session: AsyncSession, account_id: UUID, *, kind: RequestKind, body: str, now: datetime
) -> Request:
    """Ask the data protection officer; due after one calendar month (GDPR art. 12(3))."""
    row = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "account_id": account_id,
        "kind": kind,
        "state": RequestState.OPEN,
        "body": body,
        "opened_at": now,
        "due_on": now.date() + relativedelta(months=1),
        "is_extended": False,
        "version": 1,
    }
    request = (await session.execute(insert(Request).values(row).returning(Request))).scalar_one()
    event = RequestOpened(
        tenant_id=request.tenant_id, request_id=request.id, account_id=account_id, due_on=request.due_on
    )
    await publish(session, event)
    return request


async def get_request(session: AsyncSession, caller: Caller, request_id: UUID) -> Request:
    """Return one's own request, or anybody's for the officer. Raises RequestNotFound."""
    request = await session.get(Request, request_id)
    if request is None or not (request.account_id == caller.account_id or caller.has_role(Role.DPO, Role.ADMIN)):
        raise RequestNotFound
    return request


async def list_requests(session: AsyncSession, *, account_id: UUID | None) -> Sequence[Request]:
    """Return requests, what is due first."""
    statement = select(Request).order_by(Request.closed_at.is_not(None), Request.due_on, Request.id).limit(500)
    if account_id is not None:
        statement = statement.where(Request.account_id == account_id)
    return (await session.execute(statement)).scalars().all()


async def place_hold(session: AsyncSession, account_id: UUID, *, ground: HoldGround, review_on: date) -> None:
    """Keep an account's data from erasure on a legal ground, until the review."""
    event = HoldPlaced(tenant_id=tenant_of(session), account_id=account_id, ground=ground, review_on=review_on)
    await publish(session, event)


async def lift_hold(session: AsyncSession, account_id: UUID) -> None:
    await publish(session, HoldLifted(tenant_id=tenant_of(session), account_id=account_id))


async def request_export(session: AsyncSession, account_id: UUID, *, language: str) -> DataExport:
    """Ask for a copy of everything; a job collects it from every service."""
    row: dict[str, Any] = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "account_id": account_id,
        "state": ExportState.WAITING,
        "language": language,
        "total": len(SERVICES),
        "done": 0,
        "attempts": 0,
    }
    wake_after_commit(session, "collect_exports")
    return (await session.execute(insert(DataExport).values(row).returning(DataExport))).scalar_one()


async def get_export(session: AsyncSession, account_id: UUID, export_id: UUID) -> DataExport:
    """Raises ExportNotFound, also for somebody else's."""
    export = await session.get(DataExport, export_id)
    if export is None or export.account_id != account_id:
        raise ExportNotFound
    return export
