"""HTTP in, without a token: the policy at its stable address, and a case for whoever holds its address."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.actions import cases, policies, rights
from services.privacy.errors import CaseNotFound, NotCompleted, PolicyNotFound, TenantNotFound
from services.privacy.models import Case, Officer, Policy
from services.privacy.pages import case_page, policy_page
from services.privacy.schemas import (
    CaseOut,
    CertificateOut,
    ComingPolicyOut,
    PolicyOut,
    ProgressOut,
    ServiceAnswerOut,
)
from shared.db import utc_now
from shared.people import language_of
from shared.privacy.tables import erasures
from shared.problems import BadGateway, NotFound, declared

router = APIRouter(tags=["public"])
OPEN: dict[str, Any] = {"security": []}
Accept = Annotated[str, Header()]


@router.get(
    "/tenants/{slug}/policy",
    openapi_extra=OPEN,
    summary="The privacy policy in force",
    response_model=PolicyOut,
    responses=declared(TenantNotFound, PolicyNotFound),
)
async def policy_in_force(request: Request, slug: str, accept: Accept = "") -> Response:
    async with _space(request, slug) as session:
        today = await policies.local_day(session, utc_now())
        policy = await policies.policy_in_force(session, today=today)
        coming = await policies.find_coming_policy(session, policy, today=today)
        officer = await rights.officer_contact(session)
    return _show_policy(request, policy, officer, accept, coming=coming)


@router.get(
    "/tenants/{slug}/policy/{number}",
    openapi_extra=OPEN,
    summary="A version of the privacy policy",
    response_model=PolicyOut,
    responses=declared(TenantNotFound, PolicyNotFound),
)
async def one_policy(request: Request, slug: str, number: int, accept: Accept = "") -> Response:
    if not 0 < number < 2**31:
        raise PolicyNotFound
    async with _space(request, slug) as session:
        policy = await policies.get_policy(session, number)
        officer = await rights.officer_contact(session)
    return _show_policy(request, policy, officer, accept)


@asynccontextmanager
async def _space(request: Request, slug: str) -> AsyncIterator[AsyncSession]:
    """A transaction in the tenant of this name. Raises TenantNotFound."""
    database = request.app.state.service.database
    async with database.transaction() as session:
        tenant_id = await policies.tenant_by_slug(session, slug)
    async with database.transaction(tenant_id) as session:
        yield session


def _show_policy(
    request: Request, policy: Policy, officer: Officer | None, accept: str, *, coming: Policy | None = None
) -> Response:
    language = language_of(request)
    if "text/html" in accept:
        announced = (coming.number, coming.effective_on) if coming else None
        return HTMLResponse(policy_page(getattr(policy, f"body_{language}"), language=language, coming=announced))
    shown = PolicyOut.model_validate(policy)
    shown.officer = officer.contact if officer else None
    shown.coming = ComingPolicyOut.model_validate(coming) if coming else None
    return JSONResponse(shown.model_dump(mode="json"), headers={"ETag": f'"{policy.sha256[:32]}"'})


@router.get(
    "/cases/{case_id}",
    openapi_extra=OPEN,
    summary="Progress of an erasure, for whoever holds its address",
    response_model=CaseOut,
    responses=declared(CaseNotFound),
)
async def follow_case(request: Request, case_id: UUID, accept: Accept = "") -> Response:
    shown = await _case(request, case_id)
    if "text/html" in accept:
        return HTMLResponse(case_page(shown.model_dump(mode="json"), language=language_of(request)))
    return JSONResponse(shown.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


@router.get(
    "/cases/{case_id}/certificate",
    openapi_extra=OPEN,
    summary="What was erased, what is retained, on which ground and until when; no personal data",
    response_model=CertificateOut,
    responses=declared(CaseNotFound, NotCompleted),
)
async def certificate(request: Request, case_id: UUID, accept: Accept = "") -> Response:
    case = await _case(request, case_id)
    if case.completed_at is None:
        raise NotCompleted
    content = case.model_dump(mode="json") | {
        "backup_days": request.app.state.service.settings.backup_days,
        "manifests": await _manifests(request, case_id),
    }
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    content["digest"] = f"sha256:{digest}"
    if "text/html" in accept:
        return HTMLResponse(case_page(content, language=language_of(request)))
    return JSONResponse(content)


async def _tenant_of_case(request: Request, case_id: UUID) -> UUID:
    """The case's address names no tenant; this service's own part in the erasure does."""
    async with request.app.state.service.database.transaction() as session:
        found = await session.scalar(
            erasures.select().with_only_columns(erasures.c.tenant_id).where(erasures.c.case_id == case_id)
        )
    if found is None:
        raise CaseNotFound
    return UUID(str(found))


async def _case(request: Request, case_id: UUID) -> CaseOut:
    tenant_id = await _tenant_of_case(request, case_id)
    async with request.app.state.service.database.transaction(tenant_id) as session:
        case = await cases.get_case(session, case_id)
        answers = await cases.answers_of(session, case_id)
    shown = CaseOut(
        **{name: getattr(case, name) for name in CaseOut.model_fields if name not in ("answers", "progress")},
        answers=[ServiceAnswerOut.model_validate(answer) for answer in answers],
    )
    if case.is_tenant and case.completed_at is None:
        shown.progress = await _progress(request, case, [a.service for a in answers if a.outcome is None])
    return shown


async def _progress(request: Request, case: Case, services: list[str]) -> dict[str, ProgressOut]:
    found: dict[str, ProgressOut] = {}
    for service in services:
        try:
            answer = await request.app.state.service.internal.get(
                service, f"erasures/{case.id}", tenant_id=case.tenant_id
            )
        except (BadGateway, NotFound):
            # A service that is down has no progress to show; its answer stays awaited.
            continue
        found[service] = ProgressOut(done=answer["done"], total=answer["total"])
    return found


async def _manifests(request: Request, case_id: UUID) -> dict[str, str | None]:
    tenant_id = await _tenant_of_case(request, case_id)
    async with request.app.state.service.database.transaction(tenant_id) as session:
        return {answer.service: answer.manifest_digest for answer in await cases.answers_of(session, case_id)}
