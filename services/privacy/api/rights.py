"""HTTP in: what a person may do with their data."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.privacy.actions import policies, rights
from services.privacy.errors import ExportNotFound, ExportNotReady, PolicyNotFound, RequestNotFound
from services.privacy.models import ExportState, RequestState
from services.privacy.models import Request as OfficerRequest
from services.privacy.pages import WORDS
from services.privacy.schemas import (
    AcceptanceIn,
    AcceptanceOut,
    ComingPolicyOut,
    ConsentIn,
    ExportOut,
    RequestIn,
    RequestOut,
)
from shared.auth import CurrentCaller, RecentCaller, Session, StepUpRequired, caller_session
from shared.db import utc_now
from shared.events.privacy import ConsentPurpose
from shared.http import set_etag
from shared.idempotency import Idempotent
from shared.people import language_of
from shared.problems import declared

router = APIRouter(tags=["privacy"])


@router.get("/acceptance", summary="Whether you are asked to accept the policy")
async def get_acceptance(caller: CurrentCaller, session: Session) -> AcceptanceOut:
    today = await policies.local_day(session, utc_now())
    in_force = await policies.policy_in_force(session, today=today)
    coming = await policies.find_coming_policy(session, in_force, today=today)
    return AcceptanceOut(
        must_accept=await policies.must_accept(session, caller.account_id, today=today),
        latest=in_force.number,
        coming=ComingPolicyOut.model_validate(coming) if coming else None,
    )


@router.put("/acceptance", summary="Accept a version of the policy", responses=declared(PolicyNotFound))
async def accept(body: AcceptanceIn, caller: CurrentCaller, session: Session) -> AcceptanceOut:
    policy = await policies.get_policy(session, min(body.number, 2**31 - 1))
    await policies.accept_policy(session, caller.account_id, policy)
    return await get_acceptance(caller, session)


@router.get("/consents", summary="What you have consented to")
async def get_consents(caller: CurrentCaller, session: Session) -> dict[ConsentPurpose, bool]:
    return await rights.current_consents(session, caller.account_id)


@router.put("/consents/{purpose}", summary="Give or withdraw consent, as easily one as the other")
async def change_consent(
    purpose: ConsentPurpose, body: ConsentIn, caller: CurrentCaller, session: Session
) -> dict[ConsentPurpose, bool]:
    await rights.change_consent(session, caller.account_id, purpose, given=body.given)
    return await rights.current_consents(session, caller.account_id)


@router.post("/requests", status_code=201, summary="Ask the data protection officer")
async def open_request(
    request: Request, body: RequestIn, caller: CurrentCaller, session: Session, once: Idempotent, response: Response
) -> RequestOut:
    made = await once(
        lambda: rights.open_request(session, caller.account_id, kind=body.kind, body=body.body, now=utc_now()),
        lambda id_: rights.get_request(session, caller, id_),
    )
    set_etag(response, made.version)
    return show_request(made, language_of(request))


@router.get("/requests", summary="Your requests to the officer")
async def list_requests(request: Request, caller: CurrentCaller, session: Session) -> list[RequestOut]:
    found = await rights.list_requests(session, account_id=caller.account_id)
    return [show_request(one, language_of(request)) for one in found]


@router.get("/requests/{request_id}", summary="One request", responses=declared(RequestNotFound))
async def get_request(
    request: Request, request_id: UUID, caller: CurrentCaller, session: Session, response: Response
) -> RequestOut:
    found = await rights.get_request(session, caller, request_id)
    set_etag(response, found.version)
    return show_request(found, language_of(request))


def show_request(found: OfficerRequest, language: str) -> RequestOut:
    """Every refusal states the complaint to the CNIL and the judicial remedy (GDPR art. 12(4))."""
    remedies = WORDS[language]["cnil"] if found.state is RequestState.REFUSED else None
    return RequestOut.model_validate(found).model_copy(update={"remedies": remedies})


@router.post(
    "/exports",
    status_code=202,
    summary="Ask for a copy of all your data",
    responses=declared(StepUpRequired),
)
async def request_export(
    request: Request, caller: RecentCaller, session: Session, once: Idempotent, response: Response
) -> ExportOut:
    export = await once(
        lambda: rights.request_export(session, caller.account_id, language=language_of(request)),
        lambda id_: rights.get_export(session, caller.account_id, id_),
    )
    response.headers["Location"] = f"/api/privacy/v1/exports/{export.id}"
    return ExportOut.model_validate(export)


@router.get("/exports/{export_id}", summary="How far the copy is", responses=declared(ExportNotFound))
async def get_export(export_id: UUID, caller: CurrentCaller, session: Session) -> ExportOut:
    return ExportOut.model_validate(await rights.get_export(session, caller.account_id, export_id))


@router.get(
    "/exports/{export_id}/file",
    summary="The copy, a ZIP",
    responses={200: {"content": {"application/zip": {}}}, **declared(ExportNotFound, ExportNotReady, StepUpRequired)},
    response_class=Response,
)
async def fetch_export(request: Request, export_id: UUID, caller: RecentCaller) -> Response:
    async with caller_session(request, caller) as session:
        export = await rights.get_export(session, caller.account_id, export_id)
    if export.state is not ExportState.DONE or export.key is None:
        raise ExportNotReady
    content = await request.app.state.service.files.get(export.key)
    headers = {"Content-Disposition": 'attachment; filename="my-data.zip"', "Cache-Control": "private, no-store"}
    return Response(content, media_type="application/zip", headers=headers)
