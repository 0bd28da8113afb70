"""HTTP in: the notification centre, preferences, one-click unsubscribe, and the outbox page of the embedded mode."""

import hashlib
import hmac
import html
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from services.notify import unsubscribe
from services.notify.actions import notices
from services.notify.errors import InvalidUnsubscribeLink, KindIsMandatory, NoticeNotFound
from services.notify.kinds import Channel, Kind, Mode, rule_of
from services.notify.models import Notice
from services.notify.outbox import OUTBOX
from services.notify.schemas import CountsOut, NoticeOut, PreferenceIn, PreferenceOut
from shared.auth import CurrentCaller, Session
from shared.db import utc_now
from shared.http import Page, Paging
from shared.privacy.tombstones import is_erased
from shared.problems import NotFound, declared

router = APIRouter(tags=["notify"])
OPEN: dict[str, Any] = {"security": []}
Token = Annotated[str, Query(max_length=200)]
PAGES = {
    "reservation_id": "/reservations/{}",
    "invoice_id": "/invoices/{}",
    "credit_note_id": "/invoices/{}",
    "quote_id": "/quotes/{}",
    "post_id": "/posts/{}",
    "ticket_id": "/tickets/{}",
    "request_id": "/requests/{}",
    "export_id": "/exports/{}",
}


@router.get("/notices", summary="Your notification centre, newest first")
async def list_notices(caller: CurrentCaller, session: Session, paging: Paging) -> Page[NoticeOut]:
    rows = await notices.list_notices(
        session, caller.account_id, after=paging.after(datetime, UUID), limit=paging.limit
    )
    shown, following = paging.page(rows, lambda row: (row.created_at, row.id))
    return Page(data=[_show(row) for row in shown], next_cursor=following)


@router.get("/notices/counts", summary="What is unread, and what is not even seen")
async def count_notices(caller: CurrentCaller, session: Session) -> CountsOut:
    unread, unseen = await notices.count_notices(session, caller.account_id)
    return CountsOut(unread=unread, unseen=unseen)


@router.put("/notices/seen", status_code=204, summary="You have opened the list")
async def mark_seen(caller: CurrentCaller, session: Session) -> None:
    await notices.mark_seen(session, caller.account_id, now=utc_now())


@router.put("/notices/read", status_code=204, summary="Mark all as read")
async def mark_all_read(caller: CurrentCaller, session: Session) -> None:
    await notices.mark_read(session, caller.account_id, None, now=utc_now())


@router.put(
    "/notices/{notice_id}/read", status_code=204, summary="Mark one as read", responses=declared(NoticeNotFound)
)
async def mark_read(notice_id: UUID, caller: CurrentCaller, session: Session) -> None:
    await notices.mark_read(session, caller.account_id, notice_id, now=utc_now())


@router.delete("/notices/{notice_id}", status_code=204, summary="Archive one", responses=declared(NoticeNotFound))
async def archive(notice_id: UUID, caller: CurrentCaller, session: Session) -> None:
    await notices.archive_notice(session, caller.account_id, notice_id)


@router.get("/preferences", summary="What you are told, and how")
async def get_preferences(caller: CurrentCaller, session: Session) -> list[PreferenceOut]:
    chosen = await notices.preferences_of(session, caller.account_id)
    return [
        PreferenceOut(kind=kind, channel=channel, mode=mode, is_mandatory=rule_of(kind).mandatory)
        for kind, channels in chosen.items()
        for channel, mode in channels.items()
    ]


@router.put(
    "/preferences/{kind}/{channel}", status_code=204, summary="Choose for a kind", responses=declared(KindIsMandatory)
)
async def set_preference(
    kind: Kind, channel: Channel, body: PreferenceIn, caller: CurrentCaller, session: Session
) -> None:
    await notices.set_preference(session, caller.account_id, kind, channel, body.mode)


@router.post(
    "/unsubscriptions",
    openapi_extra=OPEN,
    summary="One-click unsubscribe (RFC 8058), effective at once",
    responses=declared(InvalidUnsubscribeLink),
    response_class=HTMLResponse,
)
async def unsubscribe_now(request: Request, token: Token) -> HTMLResponse:
    service = request.app.state.service
    tenant_id, account_id, kind = unsubscribe.read(service.settings.digest_key.get_secret_value(), token)
    async with service.database.transaction(tenant_id) as session:
        # A mail may be older than its reader's account: then there is nothing left to switch off.
        if not rule_of(kind).mandatory and not await is_erased(session, tenant_id, account_id):
            await notices.set_preference(session, account_id, kind, Channel.EMAIL, Mode.OFF)
    return _page("Vous ne recevrez plus ces messages. — You will not receive this kind of mail again.")


@router.get(
    "/unsubscriptions",
    openapi_extra=OPEN,
    summary="The page behind the link in a mail; only its button unsubscribes",
    responses=declared(InvalidUnsubscribeLink),
    response_class=HTMLResponse,
)
async def ask_to_unsubscribe(request: Request, token: Token) -> HTMLResponse:
    unsubscribe.read(request.app.state.service.settings.digest_key.get_secret_value(), token)
    return _page('<form method="post"><button>Se désabonner — Unsubscribe</button></form>')


@router.get("/outbox", openapi_extra=OPEN, include_in_schema=False)
async def show_outbox(request: Request, token: Token = "") -> HTMLResponse:
    """What was mailed, for the embedded mode; needs the address that `cowork run` prints."""
    settings = request.app.state.service.settings
    if not settings.outbox_page or not hmac.compare_digest(
        token.encode(), outbox_token(settings.digest_key.get_secret_value()).encode()
    ):
        raise NotFound
    rows = "".join(
        f"<h2>{html.escape(mail.subject)}</h2><p>{html.escape(mail.to)} · {mail.sent_at:%Y-%m-%d %H:%M:%S} UTC</p>"
        f"<pre>{html.escape(mail.text)}</pre><hr>"
        for mail in OUTBOX.mails()
    )
    return _page(f"<h1>Outbox</h1>{rows}")


def outbox_token(key: str) -> str:
    """Return what opens the outbox page: it shows links that sign people in."""
    return hmac.new(key.encode(), b"outbox", hashlib.sha256).hexdigest()[:32]


def _show(notice: Notice) -> NoticeOut:
    fields: Mapping[str, Any] = {name: getattr(notice, name) for name in NoticeOut.model_fields if name != "url"}
    found = [page.format(notice.about[name]) for name, page in PAGES.items() if name in notice.about]
    return NoticeOut(**fields, url=found[0] if found else None)


def _page(body: str) -> HTMLResponse:
    return HTMLResponse(f'<!doctype html><meta charset="utf-8"><title>cowork</title><main>{body}</main>')
