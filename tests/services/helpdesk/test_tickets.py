"""Tickets: the conversation, what only staff see, and what an erasure leaves."""

import io
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image

from shared.db import utc_now, uuid7
from shared.events.erasure import RECEIPTS
from shared.events.helpdesk import TicketAssigned, TicketClosed, TicketOpened, TicketReplied
from shared.events.identity import AccountDeactivated, DeactivationReason
from shared.privacy import retention
from shared.privacy.tables import erasures

ACCOUNT_ERASED, _, _ = RECEIPTS["helpdesk"]


def picture_with_gps() -> bytes:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 24.0)}
    exif[0x013B] = "Nora Example"
    output = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(output, "JPEG", exif=exif)
    return output.getvalue()


async def test_a_conversation_moves_the_ticket_along(desk: Any) -> None:
    ticket = await desk.ticket(desk.ada)
    url = f"/tickets/{ticket}"
    assert (await desk.ada.get(url)).json()["state"] == "new"
    await desk.maud.post(f"{url}/replies", {"body": "Try again."})
    shown = (await desk.ada.get(url)).json()
    assert shown["state"] == "pending"
    assert shown["first_replied_at"]
    await desk.ada.post(f"{url}/replies", {"body": "Still no."})
    assert (await desk.ada.get(url)).json()["state"] == "open"
    conversation = (await desk.ada.get(f"{url}/replies")).json()
    assert [(one["by_staff"], one["body"]) for one in conversation] == [
        (False, "It refuses mine."), (True, "Try again."), (False, "Still no."),
    ]  # fmt: skip
    assert len(await desk.helpdesk.published(TicketOpened, desk.tenant)) == 1
    assert [e.by_staff for e in await desk.helpdesk.published(TicketReplied, desk.tenant)] == [True, False]


async def test_internal_notes_are_invisible_to_the_requester_on_every_route(desk: Any) -> None:
    ticket = await desk.ticket(desk.ada)
    note = await desk.maud.post(f"/tickets/{ticket}/notes", {"body": "rude on the phone"})
    assert note.status_code == 201
    assert (await desk.ada.get(f"/tickets/{ticket}/notes")).status_code == 403
    assert (await desk.ada.post(f"/tickets/{ticket}/notes", {"body": "x"})).status_code == 403
    for path in ("/tickets", f"/tickets/{ticket}", f"/tickets/{ticket}/replies", f"/tickets/{ticket}/attachments"):
        assert "rude" not in (await desk.ada.get(path)).text
    export = await desk.helpdesk.internal.get(f"/exports/{desk.ada.account_id}", params={"tenant_id": str(desk.tenant)})
    assert "It refuses mine." in export.text
    assert "rude" not in export.text
    assert [n["body"] for n in (await desk.maud.get(f"/tickets/{ticket}/notes")).json()] == ["rude on the phone"]


async def test_others_and_other_spaces_find_no_ticket(desk: Any) -> None:
    ticket = await desk.ticket(desk.ada)
    stranger = desk.helpdesk.person(await desk.helpdesk.tenant())
    for person in (desk.ben, stranger):
        assert (await person.get(f"/tickets/{ticket}")).status_code == 404
        assert (await person.post(f"/tickets/{ticket}/replies", {"body": "hi"})).status_code == 404
    assert (await desk.ben.get("/tickets", params={"queue": True})).status_code == 403
    queue = (await desk.maud.get("/tickets", params={"queue": True, "state": "new"})).json()["data"]
    assert [one["id"] for one in queue] == [ticket]


async def test_of_two_agents_one_is_told_to_read_again(desk: Any) -> None:
    url = f"/tickets/{await desk.ticket(desk.ada)}"
    etag = (await desk.maud.get(url)).headers["etag"]
    assigned = await desk.maud.put(f"{url}/assignment", {"assignee_id": str(desk.maud.account_id)}, etag=etag)
    assert (assigned.status_code, assigned.json()["state"]) == (200, "open")
    assert (await desk.maud.patch(url, {"priority": "high"}, etag=etag)).status_code == 412
    solved = await desk.maud.patch(url, {"state": "solved"}, etag=assigned.headers["etag"])
    assert (await desk.maud.patch(url, {"state": "pending"}, etag=solved.headers["etag"])).json()[
        "code"
    ] == "state_not_allowed"
    assert len(await desk.helpdesk.published(TicketAssigned, desk.tenant)) == 1


async def test_what_is_solved_for_a_week_closes_and_takes_no_more_words(desk: Any) -> None:
    ticket = await desk.ticket(desk.ada)
    await _solve(desk, ticket, days=8)
    await desk.helpdesk.run_job("close_solved_tickets")
    assert (await desk.ada.post(f"/tickets/{ticket}/replies", {"body": "again"})).json()["code"] == "ticket_closed"
    (event,) = await desk.helpdesk.published(TicketClosed, desk.tenant)
    assert str(event.ticket_id) == ticket


async def _solve(desk: Any, ticket: str, *, days: int) -> None:
    await desk.helpdesk.rows(
        "UPDATE tickets SET state = 'solved', solved_at = :at WHERE id = :id RETURNING id",
        desk.tenant, id=ticket, at=utc_now() - timedelta(days=days),
    )  # fmt: skip


async def test_an_attached_picture_loses_its_place_and_its_author(desk: Any) -> None:
    ticket = await desk.ticket(desk.ada)
    files = {"file": ("door.jpg", picture_with_gps(), "image/jpeg")}
    made = await desk.ada.request("POST", f"/tickets/{ticket}/attachments", files=files)
    assert made.status_code == 201, made.text
    stored = await desk.maud.get(f"/attachments/{made.json()['id']}")
    assert b"Nora Example" not in stored.content
    assert dict(Image.open(io.BytesIO(stored.content)).getexif()) == {}
    assert (await desk.ben.get(f"/attachments/{made.json()['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"MZ\x00\x01binary", 415), (b"", 415), (b"\x89PNG\r\n\x1a\nbroken", 415), (b"x" * (11 * 1024 * 1024), 413)],
)
async def test_a_hostile_attachment_is_refused(desk: Any, content: bytes, status: int) -> None:
    ticket = await desk.ticket(desk.ada)
    files = {"file": ("a.png", content, "image/png")}
    refused = await desk.ada.request("POST", f"/tickets/{ticket}/attachments", files=files)
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"


async def test_an_erased_requester_leaves_figures_only(desk: Any) -> None:
    mine = await desk.ticket(desk.nora, "Nora's locker", reservation_id=str(uuid7()))
    others = await desk.ticket(desk.ada)
    await desk.maud.post(f"/tickets/{mine}/replies", {"body": "Dear Nora"})
    await desk.maud.post(f"/tickets/{mine}/notes", {"body": "Nora again"})
    files = {"file": ("nora.jpg", picture_with_gps(), "image/jpeg")}
    attached = (await desk.nora.request("POST", f"/tickets/{mine}/attachments", files=files)).json()
    event = AccountDeactivated(
        tenant_id=desk.tenant, account_id=desk.nora.account_id, case_id=uuid7(), reason=DeactivationReason.OWN_REQUEST
    )
    await desk.helpdesk.receive(event)
    assert await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant) == [], "the file is still there"
    await desk.helpdesk.run_job("delete_erased_files")
    (receipt,) = await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant)
    assert {entry.rule.split(".")[0] for entry in receipt.counts} >= {"tickets", "replies", "notes", "attachments"}
    left = await desk.helpdesk.rows(
        "SELECT tickets::text AS row FROM tickets UNION ALL SELECT replies::text FROM replies"
        " UNION ALL SELECT notes::text FROM notes UNION ALL SELECT attachments::text FROM attachments",
        desk.tenant,
    )
    everything = "".join(row.row for row in left)
    assert "Nora" not in everything
    assert str(desk.nora.account_id) not in everything
    assert (await desk.maud.get(f"/attachments/{attached['id']}")).status_code == 404
    assert (await desk.maud.get(f"/tickets/{mine}")).json()["requester"]["id"] is not None
    assert (await desk.ada.get(f"/tickets/{others}/replies")).json()[0]["body"] == "It refuses mine."


async def test_closed_tickets_past_three_years_lose_their_words(desk: Any) -> None:
    ticket, fresh = await desk.ticket(desk.ada), await desk.ticket(desk.ada, "fresh")
    await _solve(desk, ticket, days=8)
    await desk.helpdesk.run_job("close_solved_tickets")
    later = utc_now() + timedelta(days=3 * 366)
    service = desk.helpdesk.service
    due = {entry.table: entry.count for entry in await retention.preview(service.database, service.manifest, now=later)}
    assert due["tickets"] >= 1
    assert due["replies"] >= 1
    assert (await desk.ada.get(f"/tickets/{ticket}")).json()["subject"] == "Door code", "a dry run changes nothing"
    await retention.sweep(service.database, service.manifest, now=later)
    rows = await desk.helpdesk.rows("SELECT id, subject, requester_id FROM tickets ORDER BY created_at", desk.tenant)
    assert [(str(row.id), row.subject, row.requester_id is None) for row in rows] == [
        (ticket, None, True), (fresh, "fresh", False),
    ]  # fmt: skip


async def test_a_verification_says_of_each_case_what_is_left(desk: Any) -> None:
    for member in (desk.ada, desk.nora):
        await desk.ticket(member)
    erased, forged, unknown = uuid7(), uuid7(), uuid7()
    event = AccountDeactivated(
        tenant_id=desk.tenant, account_id=desk.nora.account_id, case_id=erased, reason=DeactivationReason.OWN_REQUEST
    )
    await desk.helpdesk.receive(event)
    async with desk.helpdesk.database.transaction(desk.tenant) as session:
        # A case that says it is answered, of somebody who is still here.
        case = {"case_id": forged, "tenant_id": desk.tenant, "account_id": desk.ada.account_id, "is_tenant": False}
        await session.execute(erasures.insert().values(**case, content="remove", outcome="DONE"))

    async def remaining(*case_ids: Any, status: int = 200) -> Any:
        body, tenant = {"case_ids": [str(one) for one in case_ids]}, {"tenant_id": str(desk.tenant)}
        answer = await desk.helpdesk.internal.post("/verifications", json=body, params=tenant)
        assert answer.status_code == status
        return answer.json()

    assert await remaining(erased) == {str(erased): 0}
    both = await remaining(erased, forged, unknown)
    assert both.keys() == {str(erased), str(forged)}
    assert (both[str(erased)], both[str(forged)] > 0) == (0, True)
    assert (await remaining(status=422))["code"] == "invalid_payload"
