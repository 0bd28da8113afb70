"""Internal routes of every service that answer for its personal data: verification, progress, manifest, export."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from sqlalchemy import select

from shared.auth import InternalSession, calling_service
from shared.db import utc_now
from shared.http import In, Out
from shared.privacy import retention
from shared.privacy.export import export_person, files_of
from shared.privacy.planner import erasing
from shared.privacy.tables import erasures
from shared.problems import NotFound

router = APIRouter(tags=["privacy"], dependencies=[Depends(calling_service)])


class VerificationIn(In):
    """The cases, all of the query's tenant, that are to be looked at again."""

    case_ids: list[UUID] = Field(min_length=1, max_length=200)


class ProgressOut(Out):
    done: int
    total: int
    outcome: str | None


@router.post("/verifications")
async def verify(request: Request, body: VerificationIn, session: InternalSession) -> dict[UUID, int]:
    """Run the post-conditions of cases' rules again: how many rows they still find per known case, 0 = clean."""
    rows = (await session.execute(select(erasures).where(erasures.c.case_id.in_(body.case_ids)))).all()
    plan = request.app.state.service.eraser.plan
    named = [row for row in rows if row.account_id is not None]
    async with erasing(session):
        # Nothing is left, nearly always: then nobody has to be looked at alone.
        left = named if await plan.remaining(session, [row.account_id for row in named]) else []
        found = {row.case_id: await plan.remaining(session, [row.account_id]) for row in left}
    found |= {row.case_id: await plan.tenant_remaining(session) for row in rows if row.is_tenant}
    return {row.case_id: sum(rule.count for rule in found.get(row.case_id, ())) for row in rows}


@router.get("/erasures/{case_id}")
async def progress(case_id: UUID, session: InternalSession) -> ProgressOut:
    row = (await session.execute(select(erasures).where(erasures.c.case_id == case_id))).one_or_none()
    if row is None:
        raise NotFound
    return ProgressOut(done=row.done, total=row.total, outcome=row.outcome)


@router.get("/manifest")
async def manifest(request: Request) -> dict[str, Any]:
    content: dict[str, Any] = request.app.state.service.manifest.content()
    return content


@router.get("/exports/{account_id}")
async def export(request: Request, account_id: UUID, session: InternalSession) -> dict[str, Any]:
    """Everything held about the account: `tables` with schemas and rows, `files` as keys."""
    manifest_ = request.app.state.service.manifest
    tables = await export_person(session, manifest_, account_id)
    return {"tables": tables, "files": await files_of(session, manifest_, account_id)}


@router.get("/exports/{account_id}/files")
async def export_file(
    request: Request, account_id: UUID, session: InternalSession, key: str = Query(max_length=500)
) -> Response:
    """One file of the account; other files answer 404."""
    service = request.app.state.service
    if key not in await files_of(session, service.manifest, account_id):
        raise NotFound
    return Response(await service.files.get(key), media_type="application/octet-stream")


@router.get("/retention")
async def retention_preview(request: Request) -> list[dict[str, Any]]:
    """What the next sweep would take, per table and rule."""
    service = request.app.state.service
    due = await retention.preview(service.database, service.manifest, now=utc_now())
    return [{"table": entry.table, "keep": entry.keep, "count": entry.count} for entry in due]
