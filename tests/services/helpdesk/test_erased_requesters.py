"""Nothing is written about a requester who is erased, however closely it follows the erasure."""

import asyncio
import importlib
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import uuid7
from shared.events.erasure import RECEIPTS
from shared.events.helpdesk import TicketClosed
from shared.events.identity import ContentChoice
from shared.privacy.tables import holds

ACCOUNT_ERASED, _, _ = RECEIPTS["helpdesk"]
WORDS = (
    "SELECT body FROM replies WHERE body IS NOT NULL UNION ALL SELECT body FROM notes WHERE body IS NOT NULL"
    " UNION ALL SELECT name FROM attachments UNION ALL SELECT key FROM uploads"
)


async def write(desk: Any, ticket: str, what: str) -> Any:
    if what == "attachments":
        return await desk.attach(desk.maud, ticket, b"Nora's scan")
    return await desk.maud.post(f"/tickets/{ticket}/{what}", {"body": "Dear Nora"})


@pytest.mark.parametrize("what", ["replies", "notes", "attachments"])
async def test_what_comes_after_the_erasure_is_refused(desk: Any, what: str) -> None:
    ticket = await desk.ticket(desk.nora)
    await desk.erase(desk.nora.account_id)
    refused = await write(desk, ticket, what)
    assert (refused.status_code, refused.json()["code"]) == (409, "requester_erased")
    assert await desk.helpdesk.rows(WORDS, desk.tenant) == []


@pytest.mark.parametrize("what", ["replies", "notes", "attachments"])
async def test_what_comes_during_the_erasure_waits_for_it_and_is_refused(desk: Any, what: str) -> None:
    ticket = await desk.ticket(desk.nora)
    async with desk.helpdesk.database.transaction(desk.tenant) as session:
        case = {"account_id": desk.nora.account_id, "case_id": uuid7(), "content": ContentChoice.REMOVE}
        await desk.helpdesk.service.eraser.erase_account(session, **case)
        late = asyncio.create_task(write(desk, ticket, what))
        await desk.until_one_waits()
    refused = await late
    assert (refused.status_code, refused.json()["code"]) == (409, "requester_erased")
    assert await desk.helpdesk.rows(WORDS, desk.tenant) == []


@pytest.mark.parametrize("what", ["replies", "notes", "attachments"])
async def test_of_an_erasure_and_a_word_neither_stops_the_other(desk: Any, what: str) -> None:
    for _ in range(5):
        nora = desk.helpdesk.person(desk.tenant)
        ticket = await desk.ticket(nora)
        written, _ = await asyncio.gather(write(desk, ticket, what), desk.erase(nora.account_id))
        assert written.status_code in (201, 409)
        assert await desk.helpdesk.rows(WORDS, desk.tenant) == []


async def test_a_requester_under_a_legal_hold_gets_no_more_words_either(desk: Any) -> None:
    ticket = await desk.ticket(desk.nora)
    async with desk.helpdesk.database.transaction(desk.tenant) as session:
        hold = {"tenant_id": desk.tenant, "account_id": desk.nora.account_id, "ground": "litigation"}
        await session.execute(holds.insert().values(**hold, review_on=text("current_date")))
    await desk.erase(desk.nora.account_id)
    assert (await write(desk, ticket, "notes")).json()["code"] == "requester_erased"
    assert (await desk.maud.get(f"/tickets/{ticket}")).json()["state"] == "new", "what is held stays as it is"


async def test_an_erased_requester_leaves_no_open_ticket(desk: Any) -> None:
    mine, others = await desk.ticket(desk.nora), await desk.ticket(desk.ada)
    await desk.erase(desk.nora.account_id)
    closed = (await desk.maud.get(f"/tickets/{mine}")).json()
    assert (closed["state"], closed["closed_at"] is not None) == ("closed", True)
    assert (await desk.maud.get(f"/tickets/{others}")).json()["state"] == "new"
    (event,) = await desk.helpdesk.published(TicketClosed, desk.tenant)
    assert (str(event.ticket_id), event.requester_id) == (mine, None)
    assert len(await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant)) == 1


@pytest.mark.parametrize(
    ("who", "status", "code"), [("maud", 409, "requester_erased"), ("nora", 410, "account_erased")]
)
async def test_a_file_on_its_way_goes_with_its_requester(
    desk: Any, monkeypatch: pytest.MonkeyPatch, who: str, status: int, code: str
) -> None:
    ticket = await desk.ticket(desk.nora)
    files = desk.helpdesk.service.files
    before, put = await desk.stored(), files.put

    async def put_meanwhile(key: str, content: bytes) -> None:
        await desk.erase(desk.nora.account_id)
        await put(key, content)

    monkeypatch.setattr(files, "put", put_meanwhile)
    refused = await desk.attach(getattr(desk, who), ticket, b"Nora's scan")
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert await desk.stored() == before
    assert await desk.helpdesk.rows(WORDS, desk.tenant) == []
    assert await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant) == [], (
        "whether the file is there is not known yet"
    )
    await desk.helpdesk.run_job("delete_erased_files")
    assert len(await desk.helpdesk.published(ACCOUNT_ERASED, desk.tenant)) == 1


async def test_the_migration_ends_what_was_written_too_late(desk: Any) -> None:
    ticket, others = await desk.ticket(desk.nora), await desk.ticket(desk.ada)
    await desk.erase(desk.nora.account_id)
    late = "UPDATE {} WHERE {} = :id RETURNING 1"
    for change in (("tickets SET state = 'open', closed_at = NULL", "id"), ("replies SET body = 'Nora'", "ticket_id")):
        assert await desk.helpdesk.rows(late.format(*change), desk.tenant, id=ticket)
    migration = importlib.import_module("services.helpdesk.migrations.20261130_note_uploads")
    async with desk.helpdesk.database.transaction(desk.tenant) as session:
        values = "gen_random_uuid(), :tenant, :ticket, 'nora.pdf', 'late-key', 'application/pdf', 1"
        columns = "id, tenant_id, ticket_id, name, key, media_type, size_bytes"
        row = {"tenant": desk.tenant, "ticket": ticket}
        await session.execute(text(f"INSERT INTO attachments ({columns}) VALUES ({values})"), row)
        for repair in (*migration.REPAIRS, migration.FILES):
            await session.execute(text(repair))
    left = await desk.helpdesk.rows(f"SELECT body FROM ({WORDS}) AS words", desk.tenant)
    assert [row.body for row in left] == ["It refuses mine."]
    assert await desk.helpdesk.rows("DELETE FROM file_deletions WHERE path = 'late-key' RETURNING 1")
    states = [(await desk.maud.get(f"/tickets/{one}")).json()["state"] for one in (ticket, others)]
    assert states == ["closed", "new"]
