"""Who is told of what, on which channel; the centre; unsubscribing; mails that were cut off in mid-send."""

import re
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from services.notify import consumers as reactions
from services.notify import unsubscribe
from services.notify.kinds import Kind, rule_of
from services.notify.mails import compose, words
from services.notify.outbox import OUTBOX, ShownMail
from services.notify.sending import Sender
from shared.db import utc_now, uuid7
from shared.events.billing import InvoiceIssued
from shared.events.feed import CommentAdded
from shared.events.helpdesk import TicketOpened, TicketReplied
from shared.events.identity import (
    AccountDeactivated,
    AccountRolesChanged,
    DeactivationReason,
    LinkIssued,
    LinkPurpose,
    Role,
    SecurityAlerted,
    SecurityKind,
)
from shared.events.privacy import PolicyPublished, RequestExtended
from tests.services.notify.conftest import Cast


async def test_somebody_mentioned_is_told_once_however_often_the_event_comes(cast: Cast) -> None:
    event_id = uuid7()
    event = cast.mention()
    for _ in range(3):
        await cast.notify.receive(event, event_id=event_id)
    assert await cast.kinds(cast.ada) == ["mention"]
    assert await cast.kinds(cast.ben) == [], "nobody is told of their own words"
    assert await cast.mails() == [(cast.ada.account_id, "mention", "waiting")]


async def test_what_is_switched_off_is_not_sent_and_what_is_mandatory_cannot_be(cast: Cast) -> None:
    assert (await cast.ada.put("/preferences/mention/email", {"mode": "off"})).status_code == 204
    await cast.notify.receive(cast.mention())
    assert (await cast.kinds(cast.ada), await cast.mails()) == (["mention"], [])
    refused = await cast.ada.put("/preferences/security/email", {"mode": "off"})
    assert (refused.status_code, refused.json()["code"]) == (409, "kind_is_mandatory")
    listed = (await cast.ada.get("/preferences")).json()
    assert {"kind": "mention", "channel": "email", "mode": "off", "is_mandatory": False} in listed
    assert (await cast.ada.put("/preferences/nonsense/email", {"mode": "off"})).status_code == 422


async def test_announcements_are_mailed_only_to_who_has_consented(cast: Cast) -> None:
    await cast.notify.receive(cast.consent(given=True))
    await cast.notify.receive(cast.news())
    assert await cast.kinds(cast.ben) == ["announcement"]
    assert await cast.mails() == [(cast.ada.account_id, "announcement", "waiting")]
    await cast.notify.receive(cast.consent(given=False))
    assert await cast.mails() == [(cast.ada.account_id, "announcement", "dropped")], "withdrawn while it waits"
    await cast.notify.receive(cast.news())
    assert len(await cast.mails()) == 1, "withdrawn before the next one"


async def test_staff_hear_of_tickets_and_a_new_role_counts_at_once(cast: Cast) -> None:
    ticket = TicketOpened(tenant_id=cast.tenant, ticket_id=uuid7(), requester_id=cast.ada.account_id)
    await cast.notify.receive(ticket)
    assert await cast.kinds(cast.maud) == ["ticket_opened"]
    promoted = AccountRolesChanged(tenant_id=cast.tenant, account_id=cast.ben.account_id, roles=[Role.ADMIN])
    await cast.notify.receive(promoted, version=2)
    await cast.notify.receive(ticket.model_copy(update={"ticket_id": uuid7()}))
    assert await cast.kinds(cast.ben) == ["ticket_opened"]


async def test_each_event_tells_the_right_person(cast: Cast) -> None:
    ada, ben, maud = (person.account_id for person in (cast.ada, cast.ben, cast.maud))
    tenant = {"tenant_id": cast.tenant}
    invoice = {
        "invoice_id": uuid7(),
        "order_id": uuid7(),
        "total_minor": 1,
        "currency": "EUR",
        "due_on": date(2026, 12, 1),
    }
    reply = {"ticket_id": uuid7(), "reply_id": uuid7(), "assignee_id": maud}
    for event in (
        InvoiceIssued(**tenant, **invoice, account_id=ada),
        InvoiceIssued(**tenant, **{**invoice, "invoice_id": uuid7()}, account_id=None),
        CommentAdded(**tenant, comment_id=uuid7(), post_id=uuid7(), author_id=ben, post_author_id=ada),
        TicketReplied(**tenant, **reply, author_id=maud, requester_id=ada, by_staff=True),
        TicketReplied(**tenant, **reply, author_id=ada, requester_id=ada, by_staff=False),
        SecurityAlerted(**tenant, account_id=ada, kind=SecurityKind.NEW_SIGN_IN),
        RequestExtended(**tenant, request_id=uuid7(), account_id=ada, due_on=date(2027, 2, 1)),
        PolicyPublished(**tenant, policy_id=uuid7(), version=2, is_material=True, effective_on=date(2027, 1, 1)),
    ):
        await cast.notify.receive(event)
    told = ["invoice", "comment", "ticket_replied", "security", "request_extended", "policy"]
    assert sorted(await cast.kinds(cast.ada)) == sorted(told)
    assert sorted(await cast.kinds(cast.maud)) == ["policy", "ticket_replied"]
    assert await cast.kinds(cast.ben) == ["policy"]


async def test_the_centre_counts_reads_and_forgets(cast: Cast) -> None:
    for _ in range(5):
        await cast.notify.receive(cast.mention())
    assert (await cast.ada.get("/notices/counts")).json() == {"unread": 5, "unseen": 5}
    await cast.ada.put("/notices/seen")
    assert (await cast.ada.get("/notices/counts")).json() == {"unread": 5, "unseen": 0}, "seen is not read"
    page = (await cast.ada.get("/notices", params={"limit": 3})).json()
    first = page["data"][0]["id"]
    assert (await cast.ben.put(f"/notices/{first}/read")).status_code == 404
    await cast.ada.put(f"/notices/{first}/read")
    assert (await cast.ada.delete(f"/notices/{page['data'][1]['id']}")).status_code == 204
    rest = (await cast.ada.get("/notices", params={"limit": 3, "cursor": page["next_cursor"]})).json()
    assert len(rest["data"]) == 2
    assert (await cast.ada.get("/notices/counts")).json()["unread"] == 3
    await cast.ada.put("/notices/read")
    assert (await cast.ada.get("/notices/counts")).json() == {"unread": 0, "unseen": 0}


async def test_one_click_unsubscribes_at_once_and_only_by_post(cast: Cast) -> None:
    await cast.notify.receive(cast.mention())
    token = unsubscribe.sign("k" * 32, cast.tenant, cast.ada.account_id, Kind.MENTION)
    assert (await cast.notify.public.get("/unsubscriptions", params={"token": token})).status_code == 200
    assert (await cast.mails())[0][2] == "waiting", "reading the page changes nothing"
    done = await cast.notify.public.post("/unsubscriptions", params={"token": token})
    assert done.status_code == 200
    assert (await cast.mails())[0][2] == "dropped"
    await cast.notify.receive(cast.mention())
    assert len(await cast.mails()) == 1
    for forged in ("", "x", token[:-2] + "AA", "é" * 30):
        refused = await cast.notify.public.post("/unsubscriptions", params={"token": forged})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_unsubscribe_link")


def test_every_kind_and_link_has_words_in_both_languages_and_no_variable_is_missing() -> None:
    source = Path(reactions.__file__).read_text()
    names = re.findall(r'"(\w+)":', source)
    everything = {name: "2026-12-01T08:00:00+00:00" if name.endswith("_at") else "2026-12-01" for name in names}
    everything |= {"what": "new_sign_in", "version": "2", "days_left": "7"}
    for language in ("fr", "en"):
        assert words(language).keys() >= {*Kind} - {Kind.LINK}
        assert words(language)["link"].keys() == {*LinkPurpose}
        for kind in Kind:
            for purpose in LinkPurpose if kind is Kind.LINK else [None]:
                about = {**everything, "purpose": purpose}
                mail = compose(
                    kind, language=language, zone=ZoneInfo("Europe/Paris"), about=about, url="https://x.example/y", delivery_id=uuid7(),
                    sender="a@x.example", recipient="b@x.example", unsubscribe_url=None,
                )  # fmt: skip
                assert mail["Subject"]
                text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
                assert re.search(r"\d{4}-\d\d|UTC", text) is None, "people read dates, not ISO 8601"
                assert "https://x.example/y" in mail.get_body(("html",)).get_content()  # type: ignore[union-attr]


def test_a_mail_that_can_be_refused_says_how_in_its_headers() -> None:
    made = {"language": "fr", "about": {"post_id": "x"}, "url": "u", "delivery_id": uuid7(), "sender": "a@x.example"}
    mail = compose(
        Kind.MENTION, **made, zone=ZoneInfo("UTC"), recipient="b@x.example", unsubscribe_url="https://x.example/stop"
    )
    assert mail["List-Unsubscribe"] == "<https://x.example/stop>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Message-ID"] == f"<{made['delivery_id']}@x.example>"


async def test_after_a_crash_in_mid_send_only_security_mails_go_again(cast: Cast) -> None:
    await cast.notify.receive(cast.mention())
    await cast.notify.receive(
        SecurityAlerted(tenant_id=cast.tenant, account_id=cast.ada.account_id, kind=SecurityKind.PASSWORD_CHANGED)
    )
    await cast.notify.rows(
        "UPDATE deliveries SET state = 'sending', claimed_until = now() - interval '1 minute' RETURNING id", cast.tenant
    )
    service: Any = cast.notify.service
    sender = Sender(service.database, service.internal, service.settings)
    assert await sender.recover(cast.tenant) == 1
    assert {kind: state for _, kind, state in await cast.mails()} == {"mention": "unknown", "security": "waiting"}
    assert rule_of(Kind.SECURITY).resends


async def test_a_mail_waits_while_identity_is_down(cast: Cast) -> None:
    await cast.notify.receive(
        LinkIssued(tenant_id=cast.tenant, link_id=uuid7(), account_id=uuid7(), purpose=LinkPurpose.VERIFY_EMAIL)
    )
    await cast.notify.run_job("send_mails")
    assert [state for _, _, state in await cast.mails()] == ["waiting"]


async def test_an_erased_member_is_told_nothing_and_leaves_nothing(cast: Cast) -> None:
    await cast.notify.receive(cast.mention())
    await cast.ada.put("/preferences/comment/email", {"mode": "off"})
    OUTBOX.add(ShownMail(cast.ada.account_id, utc_now(), "ada@example.org", "s", "t"))
    await cast.notify.receive(
        AccountDeactivated(
            tenant_id=cast.tenant, account_id=cast.ada.account_id, case_id=uuid7(), reason=DeactivationReason.BY_ADMIN
        )
    )
    await cast.notify.receive(cast.mention())
    for table in ("notices", "deliveries", "preferences", "recipients"):
        query = f"SELECT 1 FROM {table} WHERE account_id = :id"
        assert await cast.notify.rows(query, cast.tenant, id=cast.ada.account_id) == [], table
    assert all(mail.account_id != cast.ada.account_id for mail in OUTBOX.mails())


async def test_the_outbox_page_opens_with_its_token_only(cast: Cast) -> None:
    for token in ("", "wrong", "é"):
        assert (await cast.notify.public.get("/outbox", params={"token": token})).status_code == 404
