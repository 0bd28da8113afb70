"""Tenants: opened by the operator, run and ended by their administrators."""

import hmac
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from services.identity.actions import registration, tenants
from services.identity.actions.credentials import check_strength
from services.identity.api.needs import PUBLIC, Config, Now, Store
from services.identity.errors import OperatorOnly, SlugTaken, WeakPassword, WrongConfirmation
from services.identity.passwords import digest_password
from services.identity.schemas.administration import (
    DeactivationOut,
    TenantChangeIn,
    TenantDeactivationIn,
    TenantIn,
    TenantOpenedOut,
    TenantOut,
)
from shared.auth import RecentCaller, Session, StepUpRequired, requires
from shared.events.identity import Role
from shared.http import IfMatch, check_match, set_etag
from shared.idempotency import Idempotent
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["tenants"])
ADMIN = [requires(Role.ADMIN)]


@router.post(
    "/tenants",
    status_code=201,
    openapi_extra=PUBLIC,
    responses=declared(OperatorOnly, SlugTaken, WeakPassword),
)
async def open_tenant(
    body: TenantIn,
    database: Store,
    settings: Config,
    now: Now,
    operator_secret: Annotated[str, Header(max_length=200, description="the operator's credential")] = "",
) -> TenantOpenedOut:
    """Open a space with its first administrator; for the operator of the installation."""
    expected = settings.operator_secret.get_secret_value().encode()
    if not hmac.compare_digest(operator_secret.encode(), expected):
        raise OperatorOnly
    password_hash = await digest_password(body.admin.password) if body.admin.password else None
    async with database.transaction() as session:
        new = tenants.NewTenant(body.slug, body.name, body.languages, body.default_language, body.time_zone)
        tenant = await tenants.open_tenant(session, new)
        if body.admin.password and password_hash:
            check_strength(tenant, {Role.ADMIN}, body.admin.password, own_words=[body.admin.email])
            account = await registration.add_verified_admin(
                session,
                email=body.admin.email,
                password_hash=password_hash,
                language=tenant.default_language,
                now=now,
            )
        else:
            account = await registration.invite(
                session,
                email=body.admin.email,
                roles={Role.ADMIN, Role.MEMBER},
                language=tenant.default_language,
                invited_by=None,
                now=now,
            )
    return TenantOpenedOut(tenant_id=tenant.tenant_id, slug=tenant.slug, account_id=account.id)


@router.get("/tenant", dependencies=ADMIN)
async def read_tenant(session: Session, response: Response) -> TenantOut:
    """The space's settings and policies."""
    settings = await tenants.get_settings(session)
    set_etag(response, settings.version)
    return TenantOut.model_validate(settings)


@router.put("/tenant", dependencies=ADMIN, responses=declared(PreconditionFailed, PreconditionRequired))
async def change_tenant(
    body: TenantChangeIn, session: Session, response: Response, if_match: IfMatch = None
) -> TenantOut:
    """Replace the space's settings and policies."""
    # Locked before it is compared: of two who have read the same version, the second is told.
    settings = await tenants.get_settings(session, for_update=True)
    check_match(if_match, settings.version)
    changes = body.model_dump()
    changes["password_rules"] = body.model_dump(mode="json")["password_rules"]
    await tenants.change_settings(session, settings, changes)
    set_etag(response, settings.version)
    return TenantOut.model_validate(settings)


@router.put(
    "/tenant/deactivation",
    status_code=202,
    dependencies=ADMIN,
    responses=declared(WrongConfirmation, StepUpRequired),
)
async def deactivate_tenant(
    body: TenantDeactivationIn,
    caller: RecentCaller,
    session: Session,
    once: Idempotent,
    response: Response,
    settings: Config,
    now: Now,
) -> DeactivationOut:
    """End the whole space at once: nobody signs in any more, and every service erases everybody's personal data."""

    async def make() -> DeactivationOut:
        case_id = await tenants.deactivate_tenant(session, confirmation=body.confirmation, now=now)
        return DeactivationOut.commanded(case_id, settings.suite.public_url)

    async def load(case_id: UUID) -> DeactivationOut:
        return DeactivationOut.commanded(case_id, settings.suite.public_url)

    answer = await once(make, load, made_id=lambda made: made.case_id)
    response.headers["Location"] = answer.case_url
    return answer
