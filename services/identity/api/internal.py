"""What other services ask: keys and tokens, contacts and links to mail to, names to show."""

import hashlib
import hmac
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from services.identity.actions import accounts, deactivations, directory, links
from services.identity.actions.tenants import get_settings
from services.identity.api.needs import PUBLIC, Config, Crypto, Keys, Now
from services.identity.errors import (
    InvalidClient,
    InvitationPending,
    LastAdministrator,
    ScopeRequired,
    UnknownAccount,
)
from services.identity.models import Account
from services.identity.schemas.administration import (
    AccountRefOut,
    AccountRefsOut,
    ContactOut,
    DeactivationIn,
    DeactivationOut,
    MailableLinkOut,
    ServiceTokenIn,
    ServiceTokenOut,
)
from services.identity.schemas.members import LabelOut, LabelsIn, LabelsOut
from services.identity.tokens import SERVICE_LIFETIME, mint_service_token
from shared.auth import CallingService, InternalSession, calling_service
from shared.events.identity import Role
from shared.http import PAGE_MAX
from shared.problems import AccountErased, Gone, declared

# What each service's token opens at identity, besides what every service may ask.
SCOPES = {
    "identity": frozenset({"internal"}),
    "booking": frozenset({"internal"}),
    "billing": frozenset({"internal", "contacts"}),
    "feed": frozenset({"internal"}),
    "helpdesk": frozenset({"internal", "contacts"}),
    "notify": frozenset({"internal", "contacts", "links"}),
    "privacy": frozenset({"internal", "contacts", "deactivations"}),
    "web": frozenset({"internal"}),
}


def needs_scope(scope: str) -> Any:
    """Return a dependency that admits services whose token carries `scope`."""

    async def check_scope(caller: CallingService) -> None:
        if scope not in caller.scopes:
            raise ScopeRequired

    return Depends(check_scope)


open_routes = APIRouter(tags=["internal"])
routes = APIRouter(tags=["internal"], dependencies=[Depends(calling_service)])


@open_routes.get("/jwks", openapi_extra=PUBLIC)
async def publish_keys(keys: Keys) -> dict[str, list[dict[str, Any]]]:
    """The public keys of access and service tokens (RFC 7517)."""
    return {"keys": await keys.published()}


@open_routes.post("/service-tokens", openapi_extra=PUBLIC, responses=declared(InvalidClient))
async def issue_service_token(body: ServiceTokenIn, settings: Config, keys: Keys, now: Now) -> ServiceTokenOut:
    """Exchange a service's own credentials for a token of ten minutes."""
    expected = settings.client_digests.get(body.client_id, "")
    given = hashlib.sha256(body.client_secret.encode()).hexdigest()
    if not hmac.compare_digest(expected.lower().encode(), given.encode()) or body.client_id not in SCOPES:
        raise InvalidClient
    token = mint_service_token(await keys.live_key(), body.client_id, scopes=SCOPES[body.client_id], now=now)
    return ServiceTokenOut(access_token=token, expires_in=int(SERVICE_LIFETIME.total_seconds()))


@routes.get("/contacts/{account_id}", dependencies=[needs_scope("contacts")], responses=declared(Gone))
async def read_contact(account_id: UUID, session: InternalSession) -> ContactOut:
    """Where to write to a member, now; 410 once the account is leaving or erased."""
    account, name = await accounts.get_contact(session, account_id)
    return ContactOut(email=account.email, language=account.language, name=name)


@routes.get("/links/{link_id}", dependencies=[needs_scope("links")], responses=declared(Gone))
async def read_link(
    link_id: UUID, session: InternalSession, settings: Config, secrecy: Crypto, now: Now
) -> MailableLinkOut:
    """What notify needs to mail a link; 410 once it is used, expired or erased."""
    link = await links.get_mailable_link(session, link_id, now=now)
    account = await session.get_one(Account, link.account_id)
    tenant = await get_settings(session)
    url = await links.link_url(session, link, public_url=settings.suite.public_url, slug=tenant.slug, secrecy=secrecy)
    extras = {"tenant": tenant.name, "expires_at": link.expires_at.isoformat()}
    return MailableLinkOut(email=link.email, url=url, language=account.language, purpose=link.purpose, extras=extras)


@routes.post(
    "/accounts/{account_id}/deactivation",
    status_code=202,
    dependencies=[needs_scope("deactivations")],
    responses=declared(UnknownAccount, InvitationPending, LastAdministrator, AccountErased),
)
async def deactivate_for_dpo(
    account_id: UUID, body: DeactivationIn, session: InternalSession, settings: Config, now: Now
) -> DeactivationOut:
    """End an account because the data protection officer granted its request to be forgotten; may be asked again.

    Body: `{"content": "keep" | "remove"}`, what happens to posts; the tenant's default when left out.
    Answer (202): `{"case_id", "case_url", "stage", "undo_until"}`. An account that is on its way out, by this order or
    another, or erased, answers with the case it has (another's becomes the officer's, with the content it was begun
    with). 410 once that case is completed, for nothing leads to it any more; 404 for an account that was never here;
    409 `last_administrator`, or `invitation_pending` for one who has not joined.
    """
    public_url = settings.suite.public_url
    settle = timedelta(seconds=settings.settle_seconds)
    try:
        made = await deactivations.order_deactivation(session, account_id, content=body.content, settle=settle, now=now)
    except UnknownAccount:
        return DeactivationOut.commanded(await deactivations.get_case_of_erased(session, account_id), public_url)
    return DeactivationOut.of(made.case_id, public_url, stage=made.stage(now), undo_until=made.undo_until)


@routes.post("/labels")
async def label_members(body: LabelsIn, session: InternalSession) -> LabelsOut:
    """Names of accounts as others may see them; who left the directory has no address, unknown ids are left out."""
    labels = {
        account_id: LabelOut(text=label.text, url=f"/members/{account_id}" if label.is_listed else None)
        for account_id, label in (await directory.label_members(session, body.ids)).items()
    }
    return LabelsOut(labels=labels)


@routes.get("/accounts")
async def list_accounts(
    session: InternalSession,
    role: Annotated[Role | None, Query()] = None,
    after: Annotated[UUID | None, Query(description="the last id of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX * 10)] = PAGE_MAX,
) -> AccountRefsOut:
    """The ids of active accounts, by role, in the order of their ids."""
    rows = await accounts.list_active(session, role=role, after=after, limit=limit)
    return AccountRefsOut(accounts=[AccountRefOut.model_validate(row) for row in rows])


internal = APIRouter()
internal.include_router(open_routes)
internal.include_router(routes)
