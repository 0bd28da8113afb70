"""The policy, consent, requests to the officer, exports; and erasure cases up to their certificate."""

import hashlib
import io
import json
import zipfile
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from services.privacy.actions import cases
from services.privacy.exports import build_archive
from shared.db import utc_now
from shared.events import SERVICES
from shared.events.erasure import RECEIPTS, Outcome, RetainedRows
from shared.events.privacy import (
    CaseCompleted,
    ConsentChanged,
    ErasureRedriven,
    HoldPlaced,
    PolicyPublished,
    RequestOpened,
)
from shared.privacy import retention


async def test_every_space_has_a_policy_in_both_languages_at_a_stable_address(office: Any) -> None:
    url = f"/tenants/{office.slug}/policy"
    latest = await office.privacy.public.get(url)
    assert latest.status_code == 200
    assert "CNIL" in latest.json()["body_fr"]
    page = await office.privacy.public.get(url, headers={"Accept": "text/html", "Accept-Language": "fr"})
    assert "<h1>Politique de confidentialité</h1>" in page.text
    assert "<script" not in page.text
    body = {"body_fr": "Nouveau", "body_en": "New", "effective_on": "2027-01-01", "is_material": True}
    assert (await office.ada.post("/policies", body)).status_code == 403
    assert (await office.dora.post("/policies", body)).json()["number"] == 2
    assert (await office.privacy.public.get(url)).json()["body_en"] == "New"
    assert (await office.privacy.public.get(f"{url}/1")).json() == latest.json()
    for missing in (f"{url}/7", f"{url}/99999999999", "/tenants/nowhere/policy"):
        assert (await office.privacy.public.get(missing)).status_code == 404
    assert len(await office.privacy.published(PolicyPublished, office.tenant)) == 2


async def test_a_material_change_asks_to_accept_again(office: Any) -> None:
    assert (await office.ada.get("/acceptance")).json() == {"must_accept": True, "latest": 1}
    assert (await office.ada.put("/acceptance", {"number": 1})).json()["must_accept"] is False
    body = {"body_fr": "2", "body_en": "2", "effective_on": "2027-01-01", "is_material": False}
    await office.dora.post("/policies", body)
    assert (await office.ada.get("/acceptance")).json()["must_accept"] is False
    await office.dora.post("/policies", {**body, "is_material": True})
    assert (await office.ada.get("/acceptance")).json() == {"must_accept": True, "latest": 3}
    assert (await office.ada.put("/acceptance", {"number": 9})).status_code == 404


async def test_consent_is_withdrawn_as_easily_as_given(office: Any) -> None:
    assert (await office.ada.get("/consents")).json() == {"communication": False, "prospecting": False}
    for given in (True, False, True):
        assert (await office.ada.put("/consents/communication", {"given": given})).json()["communication"] is given
    assert [e.given for e in await office.privacy.published(ConsentChanged, office.tenant)] == [True, False, True]
    assert len(await office.privacy.rows("SELECT 1 FROM consents", office.tenant)) == 3, "the history is kept"


async def test_a_request_is_due_in_a_month_and_extended_once(office: Any) -> None:
    made = await office.ada.post("/requests", {"kind": "access", "body": "What do you hold?"})
    request = made.json()
    assert request["due_on"] == cases.due_date(utc_now().date()).isoformat()
    url = f"/requests/{request['id']}"
    assert (await office.nora.get(url)).status_code == 404
    assert (await office.ada.put(f"{url}/extension", etag='"1"')).status_code == 403
    assert (await office.dora.put(f"{url}/extension")).status_code == 428
    extended = await office.dora.put(f"{url}/extension", etag=made.headers["etag"])
    assert extended.json()["is_extended"]
    assert (await office.dora.put(f"{url}/extension", etag=extended.headers["etag"])).status_code == 409
    refusal = {"grant": False, "answer": "You asked yesterday."}
    answered = await office.dora.put(f"{url}/answer", refusal, etag=extended.headers["etag"])
    assert "CNIL" in answered.json()["remedies"]
    assert (await office.dora.put(f"{url}/answer", refusal, etag=answered.headers["etag"])).status_code == 409
    assert len(await office.privacy.published(RequestOpened, office.tenant)) == 1
    assert cases.due_date(date(2026, 1, 31)) == date(2026, 2, 28)


async def test_holds_are_the_officers_alone(office: Any) -> None:
    url, body = f"/holds/{office.ada.account_id}", {"ground": "litigation", "review_on": "2027-01-01"}
    assert (await office.ada.put(url, body)).status_code == 403
    assert (await office.dora.put(url, body)).status_code == 204
    assert (await office.dora.put(url, {**body, "ground": "curiosity"})).status_code == 422
    assert len(await office.privacy.published(HoldPlaced, office.tenant)) == 1


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


async def test_a_hold_keeps_a_case_open(office: Any) -> None:
    case_id = await office.command(office.nora.account_id)
    for service in SERVICES:
        await office.answer(case_id, service, Outcome.ON_HOLD if service == "billing" else Outcome.DONE)
    assert (await office.case(case_id))["state"] == "on_hold"
    assert not await office.verified(case_id)


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


async def test_an_export_needs_a_recent_sign_in_and_waits_for_every_service(office: Any) -> None:
    stale = office.privacy.person(office.tenant, authenticated_at=utc_now() - timedelta(hours=1))
    refused = await stale.post("/exports")
    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_required")
    asked = await office.ada.post("/exports")
    assert asked.status_code == 202
    url = asked.headers["location"].removeprefix("/api/privacy/v1")
    await office.privacy.run_job("collect_exports")
    assert (await office.ada.get(url)).json()["state"] == "waiting", "the others are down"
    assert (await office.ada.get(f"{url}/file")).json()["code"] == "export_not_ready"
    assert (await office.nora.get(url)).status_code == 404


def test_the_archive_reads_and_its_checksums_hold() -> None:
    row = {"body": "<b>mine</b>", "at": None}
    collected = {"feed": {"tables": {"posts": {"schema": {}, "rows": [row]}}, "files": {"abc": b"\x89PNG"}}}
    archive = zipfile.ZipFile(io.BytesIO(build_archive(collected, "fr")))
    assert set(archive.namelist()) == {"SHA256SUMS", "feed.json", "files/feed/abc", "index.html", "manifest.json"}
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert "&lt;b&gt;mine" in archive.read("index.html").decode()


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


async def test_requests_answered_five_years_ago_lose_their_words(office: Any) -> None:
    made = await office.ada.post("/requests", {"kind": "other", "body": "old words"})
    url = f"/requests/{made.json()['id']}/answer"
    await office.dora.put(url, {"grant": True, "answer": "done"}, etag=made.headers["etag"])
    service = office.privacy.service
    await retention.sweep(service.database, service.manifest, now=utc_now() + timedelta(days=4 * 365))
    assert (await office.ada.get("/requests")).json()[0]["body"] == "old words"
    await retention.sweep(service.database, service.manifest, now=utc_now() + timedelta(days=5 * 366))
    rows = await office.privacy.rows("SELECT body, answer, account_id FROM requests", office.tenant)
    assert [tuple(row) for row in rows] == [(None, None, None)]
