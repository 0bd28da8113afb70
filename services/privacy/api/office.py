"""HTTP in: the data protection officer's desk."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.privacy.actions import cases, desk, policies, rights
from services.privacy.api.rights import show_request
from services.privacy.errors import (
    ExtensionTooLate,
    GrantUnderWay,
    LastAdministrator,
    RequestClosed,
    RequestNotFound,
)
from services.privacy.granting import ends_account, grant_erasure
from services.privacy.register import register_of, to_markdown
from services.privacy.schemas import (
    AnswerIn,
    CaseOut,
    ExtensionIn,
    HoldIn,
    OfficerIn,
    PolicyIn,
    PolicyOut,
    RequestOut,
    ServiceAnswerOut,
)
from shared.auth import CurrentCaller, RoleRequired, Session, caller_session, requires
from shared.db import utc_now
from shared.events import SERVICES
from shared.events.identity import Role
from shared.http import IfMatch, Page, Paging, set_etag
from shared.people import language_of
from shared.problems import BadGateway, PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["office"], dependencies=[requires(Role.DPO, Role.ADMIN)])
MATCH = (PreconditionFailed, PreconditionRequired)


@router.post("/policies", status_code=201, summary="Publish a version of the policy", responses=declared(RoleRequired))
async def publish_policy(body: PolicyIn, caller: CurrentCaller, session: Session) -> PolicyOut:
    policy = await policies.publish_policy(session, **body.model_dump(), published_by=caller.account_id)
    return PolicyOut.model_validate(policy)


@router.put("/officer", status_code=204, summary="How to reach the officer", responses=declared(RoleRequired))
async def set_officer(body: OfficerIn, session: Session) -> None:
    await rights.set_officer(session, contact=body.contact)


@router.get("/office/requests", summary="Everybody's requests, what is due first", responses=declared(RoleRequired))
async def list_requests(request: Request, session: Session) -> list[RequestOut]:
    found = await rights.list_requests(session, account_id=None)
    return [show_request(one, language_of(request)) for one in found]


@router.put(
    "/requests/{request_id}/extension",
    summary="Add two months, once, inside the first, with the reason",
    responses=declared(RequestNotFound, RequestClosed, GrantUnderWay, ExtensionTooLate, RoleRequired, *MATCH),
)
async def extend(
    request: Request,
    request_id: UUID,
    body: ExtensionIn,
    session: Session,
    response: Response,
    if_match: IfMatch = None,
) -> RequestOut:
    now = utc_now()
    found = await desk.get_open_request(session, request_id, if_match=if_match, now=now)
    await desk.extend_request(session, found, reason=body.reason, today=now.date())
    set_etag(response, found.version)
    return show_request(found, language_of(request))


@router.put(
    "/requests/{request_id}/answer",
    summary="Grant or refuse, with reasons",
    responses=declared(
        RequestNotFound, RequestClosed, GrantUnderWay, LastAdministrator, RoleRequired, BadGateway, *MATCH
    ),
)
async def answer(
    request: Request,
    request_id: UUID,
    body: AnswerIn,
    caller: CurrentCaller,
    response: Response,
    if_match: IfMatch = None,
) -> RequestOut:
    now = utc_now()
    async with caller_session(request, caller) as session:
        found = await desk.get_open_request(session, request_id, if_match=if_match, now=now)
        is_claimed = ends_account(found, grant=body.grant)
        if is_claimed:
            await desk.claim_grant(session, found, now=now)
        else:
            await desk.answer_request(session, found, grant=body.grant, answer=body.answer, now=now)
    if is_claimed:
        found = await grant_erasure(request.app.state.service, found, answer=body.answer)
    set_etag(response, found.version)
    return show_request(found, language_of(request))


@router.put("/holds/{account_id}", status_code=204, summary="Place a legal hold", responses=declared(RoleRequired))
async def place_hold(account_id: UUID, body: HoldIn, session: Session) -> None:
    await rights.place_hold(session, account_id, ground=body.ground, review_on=body.review_on)


@router.delete("/holds/{account_id}", status_code=204, summary="Lift a legal hold", responses=declared(RoleRequired))
async def lift_hold(account_id: UUID, session: Session) -> None:
    await rights.lift_hold(session, account_id)


@router.get("/cases", summary="Erasure cases with one answer per service", responses=declared(RoleRequired))
async def list_cases(session: Session, paging: Paging) -> Page[CaseOut]:
    rows = await cases.list_cases(session, after=paging.after(datetime, UUID), limit=paging.limit)
    shown, following = paging.page(rows, lambda row: (row.commanded_at, row.id))
    plain = [name for name in CaseOut.model_fields if name not in ("answers", "progress")]
    data = [
        CaseOut(
            **{name: getattr(case, name) for name in plain},
            answers=[ServiceAnswerOut.model_validate(a) for a in await cases.answers_of(session, case.id)],
        )
        for case in shown
    ]
    return Page(data=data, next_cursor=following)


@router.get("/register", summary="Article 30 register, from the services' own marks", responses=declared(RoleRequired))
async def register(request: Request) -> dict[str, Any]:
    internal = request.app.state.service.internal
    manifests = [await internal.get(service, "manifest") for service in SERVICES]
    entries = register_of(manifests)
    return {"entries": entries, "markdown": to_markdown(entries, language_of(request))}
