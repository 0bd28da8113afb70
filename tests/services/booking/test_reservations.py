"""Reserving, conflicts, cancelling, and what a member's erasure leaves of it."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from shared.db import utc_now, uuid7
from shared.events.booking import CancelReason, ReservationCancelled, ReservationConfirmed, ReservationRequested
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import AccountDeactivated, ContentChoice, DeactivationReason, Role

ACCOUNT_ERASED, _, _ = RECEIPTS["booking"]


async def test_a_reservation_costs_what_the_preview_said(space: Any) -> None:
    body = space.slot(hours=3)
    preview = await space.ada.get(
        f"/resources/{space.room['id']}/price", params={"starts_at": body["starts_at"], "ends_at": body["ends_at"]}
    )
    made = await space.ada.post("/reservations", body)
    assert made.status_code == 201, made.text
    assert made.json()["price_minor"] == preview.json()["price_minor"] == 4500
    (event,) = await space.booking.published(ReservationConfirmed, space.tenant)
    assert (event.price_minor, event.account_id) == (4500, space.ada.account_id)


async def test_a_taken_slot_answers_409_with_the_nearest_free_ones(space: Any) -> None:
    await space.ada.post("/reservations", space.slot())
    refused = await space.ben.post("/reservations", space.slot())
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["code"] == "slot_taken"
    assert len(problem["nearest"]) == 3
    nearest = problem["nearest"][0]
    made = await space.ben.post("/reservations", {"resource_id": space.room["id"], **nearest})
    assert made.status_code == 201, made.text


async def test_the_buffer_after_a_reservation_stays_free(space: Any) -> None:
    await space.ada.post("/reservations", space.slot(10))
    assert (await space.ben.post("/reservations", space.slot(11))).status_code == 409


async def test_a_cancelled_desk_can_be_reserved_again(space: Any) -> None:
    made = await space.ada.post("/reservations", space.slot())
    url = f"/reservations/{made.json()['id']}/cancellation"
    assert (await space.ada.put(url)).status_code == 428
    assert (await space.ada.put(url, etag='"7"')).status_code == 412
    cancelled = await space.ada.put(url, etag=made.headers["etag"])
    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["refund_minor"] == 1500
    assert (await space.ada.put(url, etag=cancelled.headers["etag"])).status_code == 409
    assert (await space.ben.post("/reservations", space.slot())).status_code == 201
    (event,) = await space.booking.published(ReservationCancelled, space.tenant)
    assert (event.reason, event.refund_minor) == (CancelReason.MEMBER, 1500)


async def test_of_two_hundred_rivals_for_one_slot_one_wins(space: Any) -> None:
    async def rival() -> int:
        person = space.booking.person(space.tenant)
        return (await person.post("/reservations", space.slot())).status_code

    answers = await asyncio.gather(*(rival() for _ in range(200)))
    assert sorted(set(answers)) == [201, 409]
    assert answers.count(201) == 1


async def test_random_commands_never_overlap(space: Any) -> None:
    rng = random.Random(3)
    made: list[Any] = []

    async def command() -> None:
        if made and rng.random() < 0.3:
            one = made.pop(rng.randrange(len(made)))
            await space.ada.put(f"/reservations/{one.json()['id']}/cancellation", etag=one.headers["etag"])
            return
        body = space.slot(rng.randrange(7, 18), days=rng.randrange(3, 6), hours=rng.randrange(1, 4))
        answer = await space.ada.post("/reservations", body)
        assert answer.status_code in (201, 409, 422)
        if answer.status_code == 201:
            made.append(answer)

    for _ in range(20):
        await asyncio.gather(*(command() for _ in range(15)))
    overlaps = await space.booking.rows(
        "SELECT 1 FROM reservations a JOIN reservations b ON a.resource_id = b.resource_id AND a.id < b.id"
        " AND a.unit_no = b.unit_no AND a.blocked && b.blocked AND a.state = 'confirmed' AND b.state = 'confirmed'",
        space.tenant,
    )
    assert overlaps == []
    assert made


async def test_a_repeated_request_is_answered_by_the_first(space: Any) -> None:
    first = await space.ada.post("/reservations", space.slot(), key="once")
    again = await space.ada.post("/reservations", space.slot(), key="once")
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    other = await space.ada.post("/reservations", space.slot(14), key="once")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    missing = await space.ada.post("/reservations", space.slot(14), key="")
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_required")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hour": 5}, "outside_opening_hours"),
        ({"hours": 9}, "duration_not_allowed"),
        ({"days": 500}, "too_far_ahead"),
        ({"days": -7}, "too_late"),
    ],
)
async def test_a_slot_against_the_rules_is_refused_with_its_reason(
    space: Any, change: dict[str, int], code: str
) -> None:
    refused = await space.ada.post("/reservations", space.slot(**change))
    assert (refused.status_code, refused.json()["code"]) == (422, code)


async def test_bad_input_is_answered_without_an_echo(space: Any) -> None:
    refused = await space.ada.post(
        "/reservations", {**space.slot(), "secret": "hunter2", "note": 7, "starts_at": "yesterday"}
    )
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in refused.text
    assert "yesterday" not in refused.text
    malformed = await space.ada.request(
        "POST", "/reservations", content=b"{", headers={"content-type": "application/json", "Idempotency-Key": "x"}
    )
    assert (malformed.status_code, malformed.json()["code"]) == (400, "malformed_json")
    huge = await space.ada.request(
        "POST", "/reservations", content=b"x" * 2_000_000, headers={"content-type": "application/json"}
    )
    assert (huge.status_code, huge.json()["code"]) == (413, "too_large")
    cursor = await space.ada.get("/reservations", params={"cursor": "bm90IG1pbmU"})
    assert (cursor.status_code, cursor.json()["code"]) == (400, "invalid_cursor")


async def test_a_request_needs_a_decision_and_gets_one(space: Any) -> None:
    url = f"/resources/{space.room['id']}"
    etag = (await space.maud.get(url)).headers["etag"]
    await space.maud.patch(url, {"needs_approval": True}, etag=etag)
    asked = await space.ada.post("/reservations", space.slot())
    assert asked.json()["state"] == "requested"
    assert await space.booking.published(ReservationRequested, space.tenant)
    decision = f"/reservations/{asked.json()['id']}/decision"
    assert (await space.ada.put(decision, {"approve": True}, etag='"1"')).status_code == 403
    answers = await asyncio.gather(*(space.maud.put(decision, {"approve": True}, etag='"1"') for _ in range(2)))
    assert sorted(a.status_code for a in answers) in ([200, 409], [200, 412])
    assert len(await space.booking.published(ReservationConfirmed, space.tenant)) == 1


async def test_others_do_not_see_a_reservation_and_pages_cover_all(space: Any) -> None:
    made = [await space.ada.post("/reservations", space.slot(hour)) for hour in (8, 10, 12, 14)]
    first = made[0].json()
    assert (await space.ben.get(f"/reservations/{first['id']}")).status_code == 404
    stranger = space.booking.person(await space.booking.tenant(), Role.MANAGER)
    assert (await stranger.get(f"/reservations/{first['id']}")).status_code == 404
    assert (await space.ben.get("/reservations", params={"everybody": True})).status_code == 403
    seen, cursor = [], None
    while True:
        page = (
            await space.ada.get("/reservations", params={"limit": 3, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [row["id"] for row in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [m.json()["id"] for m in made]


async def test_free_slots_of_a_day_leave_out_what_is_taken(space: Any) -> None:
    body = space.slot(10)
    await space.ada.post("/reservations", body)
    day = body["starts_at"][:10]
    free = (await space.ben.get(f"/resources/{space.room['id']}/availability", params={"on": day})).json()
    assert free
    assert body["starts_at"].replace("+00:00", "Z") not in [slot["starts_at"] for slot in free]


async def test_an_erased_member_frees_upcoming_slots_and_leaves_figures(space: Any) -> None:
    upcoming = (await space.ada.post("/reservations", space.slot(note="for Ada Lovelace"))).json()
    others = (await space.ben.post("/reservations", space.slot(15, note="for Ben"))).json()
    await _past(space)
    case_id = uuid7()
    event = AccountDeactivated(
        tenant_id=space.tenant,
        account_id=space.ada.account_id,
        case_id=case_id,
        reason=DeactivationReason.OWN_REQUEST,
        content=ContentChoice.REMOVE,
    )
    await space.booking.receive(event)
    (receipt,) = await space.booking.published(ACCOUNT_ERASED, space.tenant)
    assert (receipt.case_id, receipt.outcome) == (case_id, Outcome.DONE)
    assert sum(entry.count for entry in receipt.counts if entry.rule.startswith("reservations")) == 2
    rows = await space.booking.rows("SELECT * FROM reservations ORDER BY starts_at", space.tenant)
    mine = [row for row in rows if str(row.id) != others["id"]]
    assert [(row.account_id, row.note, row.order_id) for row in mine] == [(None, None, None)] * 2
    assert {row.state for row in mine} == {"completed", "cancelled"}
    (kept,) = [row for row in rows if str(row.id) == others["id"]]
    assert (kept.account_id, kept.note) == (space.ben.account_id, "for Ben")
    assert (await space.ben.post("/reservations", space.slot())).status_code == 201, "the slot is free again"
    assert (await space.ada.get("/reservations")).status_code == 410
    cancelled = await _log(space)
    assert cancelled[0]["refund_minor"] == upcoming["price_minor"]


async def _past(space: Any) -> None:
    body = space.slot(20)
    made = (await space.ada.post("/reservations", body)).json()
    past = utc_now() - timedelta(days=3)
    async with space.booking.database.transaction(space.tenant) as session:
        from sqlalchemy import text

        await session.execute(
            text("UPDATE reservations SET starts_at = :a, ends_at = :b, blocked = tstzrange(:a, :b) WHERE id = :id"),
            {"a": past, "b": past + timedelta(hours=1), "id": made["id"]},
        )
    await space.booking.run_job("complete_past_reservations")


async def _log(space: Any) -> list[dict[str, Any]]:
    rows = await space.booking.rows(
        "SELECT data FROM event_log WHERE type = :type AND tenant_id = :tenant",
        type=ReservationCancelled.type,
        tenant=space.tenant,
    )
    return [row.data for row in rows]
