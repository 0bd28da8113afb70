"""A case on hold waits for its hold alone: late services join and are asked, gauges and reports see it, nothing completes."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from services.privacy.actions import cases
from shared.db import utc_now
from shared.events import SERVICES
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.privacy import ErasureRedriven, HoldPlaced
from shared.telemetry import REGISTRY

MINUTES, NEVER = timedelta(minutes=5), timedelta(days=1000)


@pytest.fixture
async def held(office: Any) -> UUID:
    """Nora's case: billing is kept from erasing by a hold, feed has failed, the others are done."""
    case_id: UUID = await office.command(office.nora.account_id)
    outcomes = {"billing": Outcome.ON_HOLD, "feed": Outcome.FAILED}
    for service in SERVICES:
        await office.answer(case_id, service, outcomes.get(service, Outcome.DONE))
    return case_id


async def due(office: Any, *, redrive_after: timedelta, **later: int) -> list[UUID]:
    async with office.privacy.database.transaction(office.tenant) as session:
        found = await cases.due_cases(session, redrive_after=redrive_after, now=utc_now() + timedelta(**later))
        return [case.id for case in found]


async def test_holds_are_the_officers_alone(office: Any) -> None:
    url, body = f"/holds/{office.ada.account_id}", {"ground": "litigation", "review_on": "2027-01-01"}
    assert (await office.ada.put(url, body)).status_code == 403
    assert (await office.dora.put(url, body)).status_code == 204
    assert (await office.dora.put(url, {**body, "ground": "curiosity"})).status_code == 422
    assert len(await office.privacy.published(HoldPlaced, office.tenant)) == 1


async def test_a_hold_keeps_a_case_open(office: Any, held: UUID) -> None:
    assert (await office.case(held))["state"] == "on_hold"
    await office.answer(held, "feed")
    assert (await office.case(held))["state"] == "on_hold"
    assert not await office.verified(held)
    await office.answer(held, "billing")
    assert (await office.case(held))["state"] == "verifying", "the hold is lifted"
    assert await office.verified(held)


async def test_a_service_that_failed_is_asked_again_though_another_is_on_hold(office: Any, held: UUID) -> None:
    assert await due(office, redrive_after=MINUTES, minutes=6) == [held]
    async with office.privacy.database.transaction(office.tenant) as session:
        case = await cases.get_case(session, held)
        assert await cases.redrive_late(session, case, after=timedelta(0), now=utc_now()) == ["feed"]
    asked = await office.privacy.published(ErasureRedriven, office.tenant)
    assert [event.service for event in asked] == ["feed"]


async def test_a_case_that_only_waits_for_its_hold_costs_nothing(office: Any, held: UUID) -> None:
    await office.answer(held, "feed")
    assert await due(office, redrive_after=MINUTES, minutes=6) == []
    await office.privacy.run_job("advance_open_cases")
    assert (await office.case(held))["state"] == "on_hold"


async def test_a_case_on_hold_is_reported_and_counted(office: Any, held: UUID) -> None:
    assert await due(office, redrive_after=NEVER, days=3) == [held]
    await office.privacy.run_job("measure_open_cases")
    assert REGISTRY.get_sample_value("cowork_erasures_open") >= 1
    before = REGISTRY.get_sample_value("cowork_erasures_open")
    ended = "UPDATE cases SET completed_at = now() WHERE id = :id RETURNING id"
    await office.privacy.rows(ended, office.tenant, id=held)
    await office.privacy.run_job("measure_open_cases")
    assert REGISTRY.get_sample_value("cowork_erasures_open") == before - 1


async def test_a_service_that_registers_late_joins_a_case_on_hold(office: Any, held: UUID) -> None:
    manifest = RECEIPTS["feed"][2](tenant_id=UUID(int=0), service="archive", digest="sha256:y")
    await office.privacy.receive(manifest)
    assert "archive" in {answer["service"] for answer in (await office.case(held))["answers"]}
    async with office.privacy.database.transaction() as session:
        await session.execute(text("DELETE FROM participants WHERE service = 'archive'"))


async def test_a_hold_whose_review_is_due_is_reported(office: Any) -> None:
    today = utc_now().date()
    for person, review_on in ((office.ada, today), (office.nora, today + timedelta(days=2))):
        hold = {"tenant_id": office.tenant, "account_id": person.account_id, "ground": "litigation"}
        await office.privacy.receive(HoldPlaced(**hold, review_on=review_on))
    with capture_logs() as logs:
        await office.privacy.run_job("report_due_reviews")
    reported = {entry["tenant_id"]: entry["count"] for entry in logs if entry["event"] == "hold.review_due"}
    assert reported[str(office.tenant)] == 1
