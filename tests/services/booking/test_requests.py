"""Requests that need approval: decided before their start, or ended when it comes."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import utc_now, uuid7
from shared.events.booking import CancelReason, ReservationCancelled, ReservationConfirmed
from shared.events.identity import AccountDeactivated, ContentChoice, DeactivationReason

HOUR = timedelta(hours=1)


@pytest.fixture
async def asked(space: Any) -> dict[str, Any]:
    """Ada's request for a room that needs approval."""
    room = await space.furnish(needs_approval=True)
    day = (utc_now() + timedelta(days=3)).date()
    made = await space.reserve(room, f"{day}T09:00:00Z", f"{day}T10:00:00Z")
    assert made.json()["state"] == "requested", made.text
    return dict(made.json())


async def decide(space: Any, asked: dict[str, Any], *, approve: bool) -> tuple[int, str]:
    """Decide as Maud; return the status and the state, or the problem's code."""
    url = f"/reservations/{asked['id']}"
    etag = (await space.maud.get(url)).headers["etag"]
    answer = await space.maud.put(f"{url}/decision", {"approve": approve}, etag=etag)
    return answer.status_code, answer.json().get("state") or answer.json()["code"]


async def erase_ada(space: Any) -> None:
    event = AccountDeactivated(
        tenant_id=space.tenant,
        account_id=space.ada.account_id,
        case_id=uuid7(),
        reason=DeactivationReason.OWN_REQUEST,
        content=ContentChoice.REMOVE,
    )
    await space.booking.receive(event)


async def test_a_request_is_not_approved_after_its_start(space: Any, asked: Any) -> None:
    await space.move(asked, utc_now() - timedelta(minutes=1))
    assert await decide(space, asked, approve=True) == (409, "request_expired")
    assert await space.booking.published(ReservationConfirmed, space.tenant) == []
    assert await decide(space, asked, approve=False) == (200, "denied")


async def test_a_request_that_nobody_decides_expires_at_its_start_and_ada_is_told(space: Any, asked: Any) -> None:
    await space.booking.run_job("complete_past_reservations")
    assert (await space.ada.get(f"/reservations/{asked['id']}")).json()["state"] == "requested"
    await space.move(asked, utc_now() - timedelta(minutes=1))
    await space.booking.run_job("complete_past_reservations")
    ended = (await space.ada.get(f"/reservations/{asked['id']}")).json()
    assert (ended["state"], ended["cancelled_for"], ended["refund_minor"]) == ("cancelled", "hold_expired", 1000)
    (event,) = await space.booking.published(ReservationCancelled, space.tenant)
    assert (event.reason, event.account_id) == (CancelReason.HOLD_EXPIRED, space.ada.account_id)
    for approve in (True, False):
        assert await decide(space, asked, approve=approve) == (409, "request_expired")
    await space.booking.run_job("complete_past_reservations")
    assert len(await space.booking.published(ReservationCancelled, space.tenant)) == 1


async def test_an_approved_reservation_is_not_decided_again_after_its_start(space: Any, asked: Any) -> None:
    assert await decide(space, asked, approve=True) == (200, "confirmed")
    await space.move(asked, utc_now() - timedelta(minutes=1))
    assert await decide(space, asked, approve=True) == (409, "already_decided")


@pytest.mark.parametrize("starts_in", [timedelta(days=1), timedelta(minutes=-1), timedelta(days=-3)])
async def test_a_request_ends_with_its_requester(space: Any, asked: Any, starts_in: timedelta) -> None:
    await space.move(asked, utc_now() + starts_in)
    await erase_ada(space)
    (row,) = await space.booking.rows("SELECT state, cancelled_for, account_id FROM reservations", space.tenant)
    assert tuple(row) == ("cancelled", "account_deactivated", None)
    assert await decide(space, asked, approve=True) == (409, "already_decided")


async def test_a_request_without_a_requester_can_only_be_denied_or_expire(space: Any, asked: Any) -> None:
    later = await space.reserve(asked["resource_id"], asked["ends_at"], asked["ends_at"].replace("T10:", "T11:"))
    async with space.booking.database.transaction(space.tenant) as session:
        await session.execute(text("UPDATE reservations SET account_id = NULL, order_id = NULL"))
    assert await decide(space, asked, approve=True) == (409, "requester_gone")
    assert await decide(space, asked, approve=False) == (200, "denied")
    await space.move(later.json(), utc_now() - HOUR)
    await space.booking.run_job("complete_past_reservations")
    assert (await space.maud.get(f"/reservations/{later.json()['id']}")).json()["cancelled_for"] == "hold_expired"
    assert await space.booking.published(ReservationCancelled, space.tenant) == []
