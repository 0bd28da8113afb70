"""Accounts as administrators see them, invitations, and the end of an account."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.identity.actions import accounts, deactivations, registration
from services.identity.actions.credentials import demand_new_password
from services.identity.actions.security_log import record
from services.identity.actions.tenants import get_settings
from services.identity.api.needs import Config, From, Now
from services.identity.errors import (
    AlreadyDeactivating,
    AlreadyMember,
    InvitationPending,
    LastAdministrator,
    NotDeactivating,
    UnknownAccount,
)
from services.identity.models import AccountState, Deactivation, Happening
from services.identity.schemas.administration import (
    AccountOut,
    DeactivationIn,
    DeactivationOut,
    DeactivationStatusOut,
    InvitationIn,
    RolesIn,
)
from shared.auth import (
    Caller,
    CurrentCaller,
    RecentCaller,
    RoleRequired,
    Session,
    StepUpRequired,
    recent_caller,
    requires,
)
from shared.db import utc_now
from shared.events.identity import DeactivationReason, Role
from shared.http import IfMatch, Page, Paging, check_match, set_etag
from shared.idempotency import Idempotent
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["accounts"])
ADMIN = [requires(Role.ADMIN)]


@router.get("/accounts", dependencies=ADMIN)
async def list_accounts(
    session: Session,
    paging: Paging,
    role: Annotated[Role | None, Query()] = None,
    state: Annotated[AccountState | None, Query()] = None,
) -> Page[AccountOut]:
    """Every account of the space, members who left the directory too."""
    after = paging.after(datetime, UUID)
    rows = await accounts.list_accounts(session, role=role, state=state, limit=paging.limit + 1, after=after)
    shown, following = paging.page(rows, lambda row: (row.created_at, row.id))
    return Page(data=[AccountOut.model_validate(row) for row in shown], next_cursor=following)


@router.get("/accounts/{account_id}", dependencies=ADMIN, responses=declared(UnknownAccount))
async def read_account(account_id: UUID, session: Session, response: Response) -> AccountOut:
    account = await accounts.get_account(session, account_id)
    set_etag(response, account.version)
    return AccountOut.model_validate(account)


@router.put(
    "/accounts/{account_id}/roles",
    dependencies=ADMIN,
    responses=declared(UnknownAccount, LastAdministrator, StepUpRequired, PreconditionFailed, PreconditionRequired),
)
async def set_roles(
    account_id: UUID,
    body: RolesIn,
    caller: RecentCaller,
    session: Session,
    response: Response,
    origin: From,
    now: Now,
    if_match: IfMatch = None,
) -> AccountOut:
    """Replace somebody's roles; whoever loses one has to sign in again."""
    account = await accounts.get_account(session, account_id, for_update=True)
    check_match(if_match, account.version)
    await accounts.set_roles(session, account, body.roles, origin=origin, now=now)
    set_etag(response, account.version)
    return AccountOut.model_validate(account)


@router.put(
    "/accounts/{account_id}/password-demand", status_code=204, dependencies=ADMIN, responses=declared(UnknownAccount)
)
async def demand_password(account_id: UUID, session: Session) -> None:
    """Have somebody choose a new password before anything else."""
    await demand_new_password(session, await accounts.get_account(session, account_id, for_update=True))


@router.post("/invitations", status_code=201, dependencies=ADMIN, responses=declared(AlreadyMember, StepUpRequired))
async def invite(body: InvitationIn, caller: CurrentCaller, session: Session, now: Now) -> AccountOut:
    """Mail an invitation; repeated, it replaces the former one."""
    # An invitation gives roles away like PUT /accounts/{id}/roles, which asks for the password.
    if body.roles - {Role.MEMBER}:
        await recent_caller(caller)
    settings = await get_settings(session)
    account = await registration.invite(
        session,
        email=body.email,
        roles=body.roles,
        language=body.language or settings.default_language,
        invited_by=caller.account_id,
        now=now,
    )
    return AccountOut.model_validate(account)


@router.delete("/invitations/{account_id}", status_code=204, dependencies=ADMIN, responses=declared(UnknownAccount))
async def withdraw_invitation(account_id: UUID, session: Session) -> None:
    """Withdraw an invitation that was not accepted."""
    if not await registration.withdraw_invitation(session, account_id):
        raise UnknownAccount


@router.put(
    "/accounts/{account_id}/deactivation",
    status_code=202,
    responses=declared(
        UnknownAccount, AlreadyDeactivating, InvitationPending, LastAdministrator, StepUpRequired, RoleRequired
    ),
)
async def deactivate(
    account_id: UUID,
    body: DeactivationIn,
    caller: RecentCaller,
    session: Session,
    once: Idempotent,
    response: Response,
    settings: Config,
    origin: From,
    now: Now,
) -> DeactivationOut:
    """End an account, one's own or (as administrator) another's: all personal data of it is erased everywhere."""
    _check_may_decide(caller, account_id)
    is_own = caller.account_id == account_id
    public_url = settings.suite.public_url

    async def make() -> DeactivationOut:
        made = await deactivations.deactivate(
            session,
            account_id,
            reason=DeactivationReason.OWN_REQUEST if is_own else DeactivationReason.BY_ADMIN,
            content=body.content,
            requested_by=caller.account_id,
            settle=timedelta(seconds=settings.settle_seconds),
            now=now,
        )
        await record(session, account_id, Happening.DEACTIVATION_REQUESTED, origin=origin, now=now)
        return _shown(made, public_url)

    async def load(case_id: UUID) -> DeactivationOut:
        """The row is gone once the account is erased; the case lives on at its address."""
        known = await deactivations.find_by_case(session, case_id)
        return _shown(known, public_url) if known else DeactivationOut.commanded(case_id, public_url)

    answer = await once(make, load, made_id=lambda made: made.case_id)
    response.headers["Location"] = answer.case_url
    return answer


@router.get("/accounts/{account_id}/deactivation", dependencies=ADMIN, responses=declared(NotDeactivating))
async def read_deactivation(account_id: UUID, session: Session, settings: Config) -> DeactivationStatusOut:
    """How far an account's deactivation is, until it is erased."""
    deactivation = await deactivations.get_deactivation(session, account_id)
    shown = _shown(deactivation, settings.suite.public_url)
    return DeactivationStatusOut(
        **shown.model_dump(), reason=deactivation.reason, requested_at=deactivation.requested_at
    )


@router.delete(
    "/accounts/{account_id}/deactivation", status_code=204, dependencies=ADMIN, responses=declared(NotDeactivating)
)
async def undo_deactivation(account_id: UUID, session: Session, origin: From, now: Now) -> None:
    """Bring an account back before its point of no return. Its owner does so by signing in."""
    await deactivations.undo(session, account_id, origin=origin, now=now)


def _check_may_decide(caller: Caller, account_id: UUID) -> None:
    if caller.account_id != account_id and not caller.has_role(Role.ADMIN):
        raise RoleRequired


def _shown(deactivation: Deactivation, public_url: str) -> DeactivationOut:
    stage = deactivation.stage(utc_now())
    return DeactivationOut.of(deactivation.case_id, public_url, stage=stage, undo_until=deactivation.undo_until)
