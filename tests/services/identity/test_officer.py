"""An account that ends by order of the data protection officer, which privacy passes on and may repeat."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx

from services.identity.actions.accounts import get_account
from services.identity.actions.deactivations import order_deactivation
from shared.db import utc_now
from shared.events.identity import ContentChoice, DeactivationReason
from shared.events.privacy import CaseCompleted, CaseOutcome
from tests.services.identity.door import Space
from tests.services.identity.test_deactivation import commanded, cool_off, end, erase
from tests.support.testing import Person


async def order(space: Space, account_id: UUID, *, service: str = "privacy", **body: Any) -> httpx.Response:
    parameters = {"tenant_id": str(space.tenant_id)}
    return await space.services[service].post(f"/accounts/{account_id}/deactivation", json=body, params=parameters)


async def test_the_data_protection_officer_has_an_account_ended_through_privacy(space: Space, ada: Person) -> None:
    refused = await order(space, ada.account_id, service="booking")
    assert refused.json()["code"] == "scope_required"

    ended = await order(space, ada.account_id, content="keep")

    assert ended.status_code == 202, ended.text
    (event,) = await commanded(space)
    assert (event.account_id, event.reason) == (ada.account_id, DeactivationReason.DPO_REQUEST)
    assert (str(event.case_id), event.content) == (ended.json()["case_id"], ContentChoice.KEEP)


async def test_an_order_may_be_repeated_until_its_case_is_completed(space: Space, ada: Person) -> None:
    first = (await order(space, ada.account_id)).json()
    announced = await order(space, ada.account_id)
    (event,) = await commanded(space)
    underway = await order(space, ada.account_id)
    await erase(space, event)
    erased = await order(space, ada.account_id)

    assert {answer.status_code for answer in (announced, underway, erased)} == {202}
    assert announced.json() == first
    commanded_case = {**first, "stage": "commanded"}
    assert underway.json() == erased.json() == commanded_case
    assert await commanded(space) == [event]


async def test_nothing_leads_to_a_completed_case(space: Space, ada: Person) -> None:
    await order(space, ada.account_id)
    (event,) = await commanded(space)
    await erase(space, event)
    completed = CaseCompleted(tenant_id=space.tenant_id, case_id=event.case_id, outcome=CaseOutcome.COMPLETED)
    await space.identity.receive(completed)

    gone = await order(space, ada.account_id)

    assert (gone.status_code, gone.json()["code"]) == (410, "account_erased")


async def test_an_order_that_is_repeated_while_it_runs_ends_the_account_once(space: Space, ada: Person) -> None:
    async with space.identity.database.transaction(space.tenant_id) as session:
        await get_account(session, ada.account_id, for_update=True)
        ordering = [asyncio.create_task(order(space, ada.account_id)) for _ in range(2)]
        await space.blocked(2)

    first, second = await asyncio.gather(*ordering)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert len(await commanded(space)) == 1


async def test_a_deactivation_under_way_becomes_the_officers(space: Space, agnes: Person, ada: Person) -> None:
    await cool_off(agnes, 7)
    own = (await end(ada, ada.account_id, content="keep")).json()

    ordered = await order(space, ada.account_id, content="remove")

    assert (ordered.status_code, ordered.json()) == (202, own)
    # What the officer granted does not end with a sign-in.
    assert (await space.sign_in("ada@example.com")).status_code == 401
    shown = (await agnes.get(f"/accounts/{ada.account_id}/deactivation")).json()
    assert (shown["reason"], shown["case_id"]) == ("dpo_request", own["case_id"])


async def test_a_sign_in_does_not_undo_what_the_officer_takes_over_meanwhile(
    space: Space, agnes: Person, ada: Person
) -> None:
    await cool_off(agnes, 7)
    await end(ada, ada.account_id)
    async with space.identity.database.transaction(space.tenant_id) as session:
        await order_deactivation(session, ada.account_id, content=None, settle=timedelta(), now=utc_now())
        signing_in = asyncio.create_task(space.sign_in("ada@example.com"))
        await space.blocked(1)

    refused = await signing_in

    assert (refused.status_code, refused.json()["code"]) == (401, "wrong_credentials")
    assert (await agnes.get(f"/accounts/{ada.account_id}/deactivation")).json()["reason"] == "dpo_request"


async def test_an_order_that_cannot_be_carried_out_says_why(space: Space, agnes: Person) -> None:
    invited = (await agnes.post("/invitations", {"email": "ines@example.com"})).json()

    unknown = await order(space, uuid4())
    pending = await order(space, invited["id"])
    last = await order(space, space.admin_id)

    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_account")
    assert (pending.status_code, pending.json()["code"]) == (409, "invitation_pending")
    assert (last.status_code, last.json()["code"]) == (409, "last_administrator")
    assert last.json()["remedy"] == "give_another_account_the_administrator_role"
