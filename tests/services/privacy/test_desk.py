"""The officer's desk: one decision per request, extensions that are told, erasures that erase, and no words of the erased."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from services.privacy.actions import cases
from shared.db import utc_now
from shared.events.identity import Role
from shared.events.privacy import RequestAnswered, RequestExtended, RequestOpened
from shared.privacy import retention

GRANT = {"grant": True, "answer": "It is done."}
REFUSAL = {"grant": False, "answer": "You asked yesterday."}
REASON = {"reason": "Your request is one of very many."}


async def asked(person: Any, kind: str = "access") -> str:
    """Ask the officer; return the request's address."""
    made = await person.post("/requests", {"kind": kind, "body": "What do you hold?"})
    assert made.headers["etag"] == '"1"'
    return f"/requests/{made.json()['id']}"


async def test_a_request_is_due_in_a_month_and_extended_once(office: Any) -> None:
    made = await office.ada.post("/requests", {"kind": "access", "body": "What do you hold?"})
    request = made.json()
    assert request["due_on"] == cases.due_date(utc_now().date()).isoformat()
    url = f"/requests/{request['id']}"
    assert (await office.nora.get(url)).status_code == 404
    assert (await office.ada.put(f"{url}/extension", REASON, etag='"1"')).status_code == 403
    assert (await office.dora.put(f"{url}/extension", REASON)).status_code == 428
    extended = await office.dora.put(f"{url}/extension", REASON, etag=made.headers["etag"])
    assert extended.json()["is_extended"]
    again = await office.dora.put(f"{url}/extension", REASON, etag=extended.headers["etag"])
    assert (again.status_code, again.json()["code"]) == (409, "extension_too_late")
    answered = await office.dora.put(f"{url}/answer", REFUSAL, etag=extended.headers["etag"])
    assert "CNIL" in answered.json()["remedies"]
    assert (await office.dora.put(f"{url}/answer", REFUSAL, etag=answered.headers["etag"])).status_code == 409
    assert len(await office.privacy.published(RequestOpened, office.tenant)) == 1
    assert cases.due_date(date(2026, 1, 31)) == date(2026, 2, 28)


async def test_an_extension_says_why_to_the_person(office: Any) -> None:
    url = await asked(office.ada)
    for nothing in (None, {}, {"reason": " "}):
        assert (await office.dora.put(f"{url}/extension", nothing, etag='"1"')).status_code == 422
    due_on = (await office.dora.put(f"{url}/extension", REASON, etag='"1"')).json()["due_on"]
    assert (await office.ada.get(url)).json()["extension_reason"] == REASON["reason"]
    (told,) = await office.privacy.published(RequestExtended, office.tenant)
    assert (told.account_id, told.due_on.isoformat()) == (office.ada.account_id, due_on)


async def test_an_extension_comes_within_the_first_month_or_not_at_all(office: Any) -> None:
    url = await asked(office.ada)
    earlier = "UPDATE requests SET opened_at = opened_at - interval '40 days', due_on = due_on - 40 RETURNING id"
    await office.privacy.rows(earlier, office.tenant)
    late = await office.dora.put(f"{url}/extension", REASON, etag='"1"')
    assert (late.status_code, late.json()["code"]) == (409, "extension_too_late")


async def test_a_closed_request_is_not_extended(office: Any) -> None:
    url = await asked(office.ada)
    closed = await office.dora.put(f"{url}/answer", GRANT, etag='"1"')
    refused = await office.dora.put(f"{url}/extension", REASON, etag=closed.headers["etag"])
    assert (refused.status_code, refused.json()["code"]) == (409, "request_closed")
    assert await office.privacy.published(RequestExtended, office.tenant) == []


async def test_of_two_officers_one_decides(office: Any) -> None:
    dan = office.privacy.person(office.tenant, Role.DPO)
    for _ in range(5):
        url = await asked(office.ada)
        answers = await asyncio.gather(
            *(
                officer.put(f"{url}/answer", said, etag='"1"')
                for officer in (office.dora, dan)
                for said in (GRANT, REFUSAL)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    assert len(await office.privacy.published(RequestAnswered, office.tenant)) == 5


async def test_a_granted_erasure_ends_the_account(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    granted = await office.dora.put(f"{url}/answer", GRANT, etag='"1"')
    assert (granted.status_code, granted.json()["state"]) == (200, "granted")
    assert others.leaving == {str(office.nora.account_id)}
    refused = await asked(office.ada, "erasure")
    await office.dora.put(f"{refused}/answer", REFUSAL, etag='"1"')
    assert others.deactivations == 1, "a refusal ends nothing"


async def test_an_erasure_is_not_granted_while_identity_is_away(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    before = (await office.nora.get(url)).json()
    others.are_away = True
    assert (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).status_code == 502
    assert (await office.nora.get(url)).json() == before
    assert await office.privacy.published(RequestAnswered, office.tenant) == []
    others.are_away = False
    assert (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).json()["state"] == "granted"


async def test_an_account_that_is_erased_already_is_granted_its_erasure(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    others.erased = {str(office.nora.account_id)}
    assert (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).json()["state"] == "granted"


async def test_an_erasure_is_not_granted_when_identity_knows_nobody(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    others.unknown = {str(office.nora.account_id)}
    assert (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).status_code == 502
    assert (await office.nora.get(url)).json()["state"] == "open"


async def test_the_last_administrator_is_not_granted_their_erasure(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    others.last_administrator = str(office.nora.account_id)
    refused = await office.dora.put(f"{url}/answer", GRANT, etag='"1"')
    assert (refused.status_code, refused.json()["code"]) == (409, "last_administrator")
    assert (await office.dora.put(f"{url}/answer", REFUSAL, etag='"1"')).json()["state"] == "refused"


async def test_nobody_refuses_what_another_officer_is_granting(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    tried: list[Any] = []

    async def interfere() -> None:
        tried.append(await office.dora.put(f"{url}/answer", REFUSAL, etag='"1"'))
        tried.append(await office.dora.put(f"{url}/extension", REASON, etag='"1"'))

    others.meanwhile = interfere
    assert (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).json()["state"] == "granted"
    assert [(one.status_code, one.json()["code"]) for one in tried] == [(409, "grant_under_way")] * 2


async def test_a_grant_whose_worker_died_does_not_block_the_request(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    lapsed = "UPDATE requests SET granting_until = now() - interval '1 second' RETURNING id"
    await office.privacy.rows(lapsed, office.tenant)
    assert (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).status_code == 200


async def test_an_erasure_that_is_quicker_than_its_grant_leaves_no_words(office: Any, others: Any) -> None:
    url = await asked(office.nora, "erasure")
    others.meanwhile = lambda: office.command(office.nora.account_id)
    granted = (await office.dora.put(f"{url}/answer", GRANT, etag='"1"')).json()
    assert (granted["state"], granted["account_id"], granted["answer"]) == ("granted", None, None)


@pytest.mark.parametrize("decision", ["extension", "answer"])
async def test_nothing_is_written_to_somebody_who_is_erased(office: Any, decision: str) -> None:
    url = await asked(office.nora)
    await office.command(office.nora.account_id)
    body = REASON if decision == "extension" else {**REFUSAL, "answer": "Nora, we are sorry"}
    assert (await office.dora.put(f"{url}/{decision}", body, etag='"1"')).status_code == 200
    rows = await office.privacy.rows("SELECT body, answer, extension_reason, account_id FROM requests", office.tenant)
    assert [tuple(row) for row in rows] == [(None, None, None, None)]


async def test_an_erased_member_leaves_no_reason_and_no_answer(office: Any) -> None:
    url = await asked(office.nora)
    extended = await office.dora.put(f"{url}/extension", REASON, etag='"1"')
    await office.dora.put(f"{url}/answer", GRANT, etag=extended.headers["etag"])
    await office.command(office.nora.account_id)
    rows = await office.privacy.rows("SELECT body, answer, extension_reason, account_id FROM requests", office.tenant)
    assert [tuple(row) for row in rows] == [(None, None, None, None)]


async def test_requests_answered_five_years_ago_lose_their_words(office: Any) -> None:
    url = await asked(office.ada)
    extended = await office.dora.put(f"{url}/extension", REASON, etag='"1"')
    await office.dora.put(f"{url}/answer", GRANT, etag=extended.headers["etag"])
    service = office.privacy.service
    await retention.sweep(service.database, service.manifest, now=utc_now() + timedelta(days=4 * 365))
    assert (await office.ada.get("/requests")).json()[0]["body"] == "What do you hold?"
    await retention.sweep(service.database, service.manifest, now=utc_now() + timedelta(days=5 * 366))
    query = "SELECT body, answer, extension_reason, account_id FROM requests"
    assert [tuple(row) for row in await office.privacy.rows(query, office.tenant)] == [(None, None, None, None)]


async def test_an_answer_that_is_all_that_is_left_is_swept_too(office: Any) -> None:
    url = await asked(office.nora)
    await office.command(office.nora.account_id)
    await office.dora.put(f"{url}/answer", GRANT, etag='"1"')
    await office.privacy.rows("UPDATE requests SET answer = 'of an earlier release' RETURNING id", office.tenant)
    service = office.privacy.service
    await retention.sweep(service.database, service.manifest, now=utc_now() + timedelta(days=5 * 366))
    rows = await office.privacy.rows("SELECT answer FROM requests", office.tenant)
    assert [row.answer for row in rows] == [None]
