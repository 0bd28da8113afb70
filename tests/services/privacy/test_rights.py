"""Consent; and erasure cases up to their certificate."""

import json
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from services.privacy.actions import cases
from shared.db import utc_now
from shared.events import SERVICES
from shared.events.erasure import RECEIPTS, Outcome, RetainedRows
from shared.events.privacy import (
    CaseCompleted,
    ConsentChanged,
    ErasureRedriven,
)


async def test_consent_is_withdrawn_as_easily_as_given(office: Any) -> None:
    assert (await office.ada.get("/consents")).json() == {"communication": False, "prospecting": False}
    for given in (True, False, True):
        assert (await office.ada.put("/consents/communication", {"given": given})).json()["communication"] is given
    assert [e.given for e in await office.privacy.published(ConsentChanged, office.tenant)] == [True, False, True]
    assert len(await office.privacy.rows("SELECT 1 FROM consents", office.tenant)) == 3, "the history is kept"


async def test_a_case_completes_when_all_seven_have_answered_and_nothing_remains(office: Any) -> None:
    case_id = await office.command(office.nora.account_id)
    case = await office.case(case_id)
    assert {a["service"] for a in case["answers"]} == set(SERVICES)
    assert (await office.privacy.public.get(f"/cases/{case_id}/certificate")).json()["code"] == "not_completed"
    kept = RetainedRows(rule="documents", ground="legal_archive", until=date(2036, 12, 31), count=2)
    for service in SERVICES:
        more = {"outcome": Outcome.RETAINED, "retained": [kept]} if service == "billing" else {}
        await office.answer(case_id, service, **more)
    assert (await office.case(case_id))["state"] == "verifying"
    assert not await office.verified(case_id, feed=3)
    assert (await office.case(case_id))["state"] == "remediating"
    await office.answer(case_id, "feed")
    assert await office.verified(case_id)
    assert not await office.verified(case_id), "completed once"
    certificate = (await office.privacy.public.get(f"/cases/{case_id}/certificate")).json()
    assert certificate["state"] == "completed_with_retention"
    assert str(office.nora.account_id) not in json.dumps(certificate)
    (billing,) = [a for a in certificate["answers"] if a["service"] == "billing"]
    assert billing["retained"] == [{"rule": "documents", "ground": "legal_archive", "until": "2036-12-31", "count": 2}]
    html = await office.privacy.public.get(f"/cases/{case_id}/certificate", headers={"Accept": "text/html"})
    assert "Certificate of erasure" in html.text
    french = {"Accept": "text/html", "Accept-Language": "fr"}
    html = await office.privacy.public.get(f"/cases/{case_id}/certificate", headers=french)
    assert "2 × factures et avoirs: archivage légal, 2036-12-31" in html.text
    for value in ("completed_with_retention", "RETAINED", "DONE", "legal_archive"):
        assert value not in html.text
    rows = await office.privacy.rows("SELECT account_id FROM cases WHERE id = :id", office.tenant, id=case_id)
    assert [row.account_id for row in rows] == [None]
    assert len(await office.privacy.published(CaseCompleted, office.tenant)) == 1
    await office.answer(case_id, "feed", Outcome.FAILED)
    assert (await office.case(case_id))["state"] == "completed_with_retention", "a late receipt changes nothing"


async def test_whoever_fails_or_is_late_is_asked_again(office: Any) -> None:
    case_id = await office.command(office.nora.account_id)
    await office.answer(case_id, "feed", Outcome.FAILED)
    assert (await office.case(case_id))["state"] == "remediating"
    async with office.privacy.database.transaction(office.tenant) as session:
        case = await cases.get_case(session, case_id)
        late = await cases.redrive_late(session, case, after=timedelta(0), now=utc_now())
    assert set(late) == set(SERVICES) - {"privacy"} | ({"privacy"} & set(late))
    asked = {event.service for event in await office.privacy.published(ErasureRedriven, office.tenant)}
    assert "feed" in asked
    async with office.privacy.database.transaction(office.tenant) as session:
        case = await cases.get_case(session, case_id)
        assert await cases.note_escalation(session, case, now=utc_now() + timedelta(days=8)) == 7
        await session.refresh(case)
        assert await cases.note_escalation(session, case, now=utc_now() + timedelta(days=8)) is None


async def test_a_case_is_left_alone_until_something_is_to_be_done(office: Any) -> None:
    case_id = await office.command(office.nora.account_id)

    async def is_due(*, redrive_after: timedelta, **later: int) -> bool:
        async with office.privacy.database.transaction(office.tenant) as session:
            now = utc_now() + timedelta(**later)
            due = [case.id for case in await cases.due_cases(session, redrive_after=redrive_after, now=now)]
            return due == [case_id]

    minutes, never = timedelta(minutes=5), timedelta(days=1000)
    assert not await is_due(redrive_after=minutes)
    assert await is_due(redrive_after=minutes, minutes=6)
    assert not await is_due(redrive_after=never, hours=23)
    assert await is_due(redrive_after=never, days=3), "a case that is late is reported"
    async with office.privacy.database.transaction(office.tenant) as session:
        case = await cases.get_case(session, case_id)
        await cases.note_escalation(session, case, now=utc_now() + timedelta(days=3))
    assert not await is_due(redrive_after=never, days=3), "once per step"
    for service in SERVICES:
        await office.answer(case_id, service)
    assert await is_due(redrive_after=minutes), "it is to be verified"
    assert await office.verified(case_id)
    assert not await is_due(redrive_after=minutes, days=30)


async def test_a_service_that_registers_late_joins_the_open_cases(office: Any) -> None:
    case_id = await office.command(office.nora.account_id)
    manifest = RECEIPTS["feed"][2](tenant_id=UUID(int=0), service="archive", digest="sha256:y")
    await office.privacy.receive(manifest)
    assert "archive" in {a["service"] for a in (await office.case(case_id))["answers"]}
    async with office.privacy.database.transaction() as session:
        await session.execute(text("DELETE FROM participants WHERE service = 'archive'"))


async def test_a_stranger_finds_no_case(office: Any) -> None:
    assert (await office.privacy.public.get(f"/cases/{uuid4()}")).status_code == 404
    assert (await office.ada.get("/cases")).status_code == 403
    case_id = await office.command(office.nora.account_id)
    listed = (await office.dora.get("/cases")).json()["data"]
    assert [case["id"] for case in listed] == [str(case_id)]


async def test_an_erased_member_leaves_no_consent_request_or_export(office: Any) -> None:
    await office.nora.put("/acceptance", {"number": 1})
    await office.nora.put("/consents/prospecting", {"given": True})
    await office.nora.post("/requests", {"kind": "other", "body": "Nora asks"})
    await office.nora.post("/exports")
    await office.ada.post("/requests", {"kind": "other", "body": "Ada asks"})
    await office.command(office.nora.account_id)
    for table in ("acceptances", "consents", "requests", "exports"):
        query = f"SELECT 1 FROM {table} t WHERE account_id = :id OR t::text LIKE '%Nora%'"
        assert await office.privacy.rows(query, office.tenant, id=office.nora.account_id) == [], table
    rows = await office.privacy.rows("SELECT body FROM requests ORDER BY opened_at", office.tenant)
    assert [row.body for row in rows] == [None, "Ada asks"]
