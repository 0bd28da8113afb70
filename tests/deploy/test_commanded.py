"""Erasures that are commanded and not complete where a restore is about to wipe: they are found and written down first."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.backup.commanded import ErasuresHeld, find_commanded, refuse_held, write_down
from deploy.backup.places import LEDGER, Place, connected
from services.privacy.ledger import Entry, open_ledger
from shared.db import utc_now, uuid7

CASE = (
    "INSERT INTO cases (id, tenant_id, account_id, is_tenant, reason, state, commanded_at, due_on, escalated_days,"
    " version, completed_at) VALUES ($1, $2, $3, false, 'own_request', 'verifying', now(), now(), 0, 1, $4)"
)
ACCOUNT = (
    "INSERT INTO accounts (id, tenant_id, email, state, roles, language, created_at, version)"
    " VALUES ($1, $2, gen_random_uuid() || '@example.org', 'deactivating', ARRAY['member'], 'fr', now(), 1)"
)
LINK = (
    "INSERT INTO links (id, tenant_id, account_id, purpose, email, created_at, expires_at)"
    " VALUES ($1, $2, $1, 'deactivation', 'one@example.org', now(), now())"
)
DEACTIVATION = (
    "INSERT INTO deactivations (account_id, tenant_id, case_id, reason, content, requested_at, link_id, settle_by,"
    " commanded_at) VALUES ($1, $2, $1, 'own_request', 'keep', now(), $1, now(), $3)"
)


async def test_whoever_is_to_be_erased_is_written_down_before_everything_is_wiped(place: Place) -> None:
    tenant, other, case = uuid7(), uuid7(), uuid4()
    unheard, undecided, under_way, erased, lost = (uuid7() for _ in range(5))
    for account_id, commanded_at in ((unheard, utc_now()), (undecided, None)):
        await run(place, "identity", ACCOUNT, account_id, tenant)
        await run(place, "identity", LINK, account_id, tenant)
        await run(place, "identity", DEACTIVATION, account_id, tenant, commanded_at)
    for service, content in (("identity", "remove"), ("feed", "keep"), ("privacy", "keep")):
        await note_case(place, service, case, tenant, under_way, content)
    await note_case(place, "booking", uuid4(), other, None, "remove")
    await note_case(place, "billing", uuid4(), tenant, erased, "remove")
    for case_id, account_id, completed_at in (
        (uuid4(), lost, None),
        (case, under_way, None),
        (uuid4(), None, utc_now()),
    ):
        await run(place, "privacy", CASE, case_id, tenant, account_id, completed_at)
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        await ledger.append(Entry(ledger.digest(tenant, erased), "completed", "remove", utc_now()))
    found = await find_commanded(place)
    expected = {unheard: "keep", under_way: "keep", other: "remove", lost: "remove"}
    assert {one.subject_id: one.content for one in found} == expected
    assert await write_down(place, found) == 4
    assert await find_commanded(place) == [], "the ledger names everybody now"
    async with open_ledger(place.ledger_key, place.owners[LEDGER]) as ledger:
        assert (await ledger.contents())[ledger.digest(tenant, unheard)] == "keep"
        assert await ledger.verify() == 5
    await an_erasure_that_a_legal_hold_keeps_is_not_carried_out_unasked(place)


async def an_erasure_that_a_legal_hold_keeps_is_not_carried_out_unasked(place: Place) -> None:
    tenant, account_id = uuid7(), uuid7()
    await note_case(place, "privacy", uuid4(), tenant, account_id, "keep")
    refuse_held(await find_commanded(place))
    hold = "INSERT INTO holds (tenant_id, account_id, ground, review_on) VALUES ($1, $2, 'litigation', now())"
    await run(place, "booking", hold, tenant, account_id)
    with pytest.raises(ErasuresHeld, match=r"1 erasures wait for a legal hold.*--lift-holds"):
        refuse_held(await find_commanded(place))


async def note_case(
    place: Place, service: str, case_id: UUID, tenant_id: UUID, account_id: UUID | None, content: str
) -> None:
    noted = "INSERT INTO erasures (case_id, tenant_id, account_id, is_tenant, content) VALUES ($1, $2, $3, $4, $5)"
    await run(place, service, noted, case_id, tenant_id, account_id, account_id is None, content)


async def run(place: Place, service: str, statement: str, *values: Any) -> None:
    async with connected(place.owners[service]) as owner:
        await owner.execute(statement, *values)
