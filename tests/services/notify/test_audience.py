"""Nobody goes untold because of somebody else: who has gone is left out, and what has no addressee finds others."""

import asyncio
from datetime import date

from shared.bus.inbox import Outcome
from shared.db import uuid7
from shared.events.helpdesk import TicketReplied
from shared.events.identity import AccountDeactivated, DeactivationReason, Role
from shared.events.privacy import HoldGround, HoldPlaced, RequestOpened
from shared.privacy.tombstones import lay_tombstone, lock_subject
from tests.services.notify.conftest import Cast
from tests.support.testing import Person, wait_for

WAITS_FOR_A_LOCK = (
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def deactivate_held(cast: Cast, person: Person) -> None:
    """Deactivate somebody under legal hold: refused from now on, but nothing of theirs is deleted."""
    about = {"tenant_id": cast.tenant, "account_id": person.account_id}
    await cast.notify.receive(HoldPlaced(**about, ground=HoldGround.LITIGATION, review_on=date(2027, 1, 1)))
    await cast.notify.receive(AccountDeactivated(**about, case_id=uuid7(), reason=DeactivationReason.BY_ADMIN))


async def test_an_announcement_reaches_everybody_but_the_deactivated_who_are_held(cast: Cast) -> None:
    await cast.notify.receive(cast.consent(given=True))
    await deactivate_held(cast, cast.ada)
    kept = "SELECT 1 FROM recipients WHERE account_id = :id"
    assert await cast.notify.rows(kept, cast.tenant, id=cast.ada.account_id), "a hold keeps the row"
    assert await cast.notify.receive(cast.news()) is Outcome.HANDLED
    assert await cast.kinds(cast.ben) == ["announcement"]
    told = await cast.notify.rows("SELECT account_id FROM notices UNION SELECT account_id FROM deliveries", cast.tenant)
    assert {row.account_id for row in told} == {cast.ben.account_id}


async def test_an_event_about_the_erased_alone_stays_discarded(cast: Cast) -> None:
    await deactivate_held(cast, cast.ada)
    assert await cast.notify.receive(cast.mention()) is Outcome.SUBJECT_ERASED
    assert await cast.notify.rows("SELECT 1 FROM notices", cast.tenant) == []


async def test_who_is_erased_while_an_announcement_is_told_keeps_nobody_from_it(cast: Cast) -> None:
    async with cast.notify.database.transaction(cast.tenant) as session:
        await lock_subject(session, cast.tenant, cast.ada.account_id)
        await lay_tombstone(session, cast.tenant, cast.ada.account_id)
        telling = asyncio.create_task(cast.notify.receive(cast.news()))
        await wait_for(lambda: cast.notify.rows(WAITS_FOR_A_LOCK), what="the announcement waits for the erasure")
    assert await telling is Outcome.HANDLED
    told = await cast.notify.rows("SELECT account_id FROM notices", cast.tenant)
    assert [row.account_id for row in told] == [cast.ben.account_id]


async def test_a_reply_on_a_ticket_that_nobody_has_taken_tells_the_staff(cast: Cast) -> None:
    alma = cast.notify.person(cast.tenant, Role.ADMIN)
    await cast.join(alma, Role.ADMIN)
    ticket = {"tenant_id": cast.tenant, "ticket_id": uuid7(), "requester_id": cast.maud.account_id}
    for author, by_staff in ((cast.maud, False), (alma, True)):
        reply = TicketReplied(
            **ticket, reply_id=uuid7(), author_id=author.account_id, assignee_id=None, by_staff=by_staff
        )
        await cast.notify.receive(reply)
    assert await cast.kinds(alma) == ["ticket_replied"]
    assert await cast.kinds(cast.maud) == ["ticket_replied"], "she asked: she hears the staff, not herself"
    assert await cast.kinds(cast.ben) == []


async def test_where_nobody_is_the_officer_administrators_hear_of_requests(cast: Cast) -> None:
    alma, dora = cast.notify.person(cast.tenant, Role.ADMIN), cast.notify.person(cast.tenant, Role.DPO)
    await cast.join(alma, Role.ADMIN)
    request = {"tenant_id": cast.tenant, "account_id": cast.ada.account_id, "due_on": date(2027, 1, 1)}
    await cast.notify.receive(RequestOpened(**request, request_id=uuid7()))
    assert (await cast.kinds(alma), await cast.kinds(cast.maud)) == (["request"], [])
    await cast.join(dora, Role.DPO)
    await cast.notify.receive(RequestOpened(**request, request_id=uuid7()))
    assert (await cast.kinds(dora), await cast.kinds(alma)) == (["request"], ["request"])
    await deactivate_held(cast, dora)
    await cast.notify.receive(RequestOpened(**request, request_id=uuid7()))
    assert await cast.kinds(alma) == ["request", "request"], "an officer who has gone is none"
