"""Erasing a whole tenant: pieces, crashes, neighbours, holds, and what belongs to nobody's account."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from shared.bus.tables import watermarks
from shared.db import uuid7
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import ContentChoice
from shared.events.privacy import CaseCompleted, CaseOutcome
from shared.privacy.planner import Plan
from shared.privacy.tables import holds

_, TENANT_ERASED, _ = RECEIPTS["feed"]


class Killed(Exception):
    """Stands for the end of the process: everything uncommitted is lost."""


class Folder:
    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, key: str) -> None:
        self.deleted.append(key)


async def start(world: Any, tenant: UUID) -> UUID:
    case_id = uuid7()
    async with world.database.transaction(tenant) as session:
        await world.eraser.start_tenant(session, case_id=case_id)
    return case_id


async def finish(world: Any) -> Folder:
    folder = Folder()
    while await world.eraser.erase_batch(world.database) or await world.eraser.delete_files(world.database, folder):
        continue
    return folder


async def receipts(world: Any, tenant: UUID) -> list[Any]:
    rows = await world.query(
        "SELECT data FROM event_log WHERE type = :type AND tenant_id = :tenant ORDER BY position",
        type=TENANT_ERASED.type,
        tenant=tenant,
    )
    return [TENANT_ERASED.model_validate(row.data) for row in rows]


@pytest.fixture(autouse=True)
def one_piece_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.privacy.walk.TURN_SECONDS", 0)


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def arm(point: str) -> None:
        # Ours alone: a suite that other tests have left running in this process passes the same points.
        mine = asyncio.current_task()

        def crash(passed: str) -> None:
            if passed == point and asyncio.current_task() is mine:
                monkeypatch.undo()
                raise Killed

        for module in ("erasure", "walk"):
            monkeypatch.setattr(f"shared.privacy.{module}.crash", crash)

    return arm


@pytest.mark.parametrize("point", ["tenant.before_commit", "tenant.after_commit", "erasure.after_files"])
async def test_a_crash_loses_one_piece_at_most_and_the_next_worker_resumes(
    world: Any, kill_at: Any, point: str
) -> None:
    case_id = await start(world, world.tenant)
    for _ in range(2):
        assert await world.eraser.erase_batch(world.database)
    where = "SELECT step FROM erasures WHERE case_id = :c"
    before = await world.value(where, c=case_id)
    kill_at(point)
    with pytest.raises(Killed):
        await finish(world)
    after = await world.value(where, c=case_id)
    assert after == {"tenant.before_commit": before, "tenant.after_commit": before + 1}.get(point)
    await finish(world)
    (receipt,) = await receipts(world, world.tenant)
    assert (receipt.outcome, receipt.accounts) == (Outcome.RETAINED, 2)
    assert [(row.rule, row.count) for row in receipt.retained] == [("invoices", 2)]
    assert {row.rule: row.count for row in receipt.counts}["profiles"] == 2, "what is done twice is counted once"
    assert await world.value("SELECT count(*) FROM profiles") == 0


async def test_a_case_that_is_at_work_goes_on_when_it_is_asked_for_again(world: Any) -> None:
    """However often a late answer is asked for, every piece comes nearer to it."""
    case_id = await start(world, world.tenant)
    for _ in range(60):
        async with world.database.transaction(world.tenant) as session:
            await world.eraser.start_tenant(session, case_id=case_id, again=True)
        await world.eraser.erase_batch(world.database)
        await world.eraser.delete_files(world.database, Folder())
        if found := await receipts(world, world.tenant):
            break
    assert [receipt.outcome for receipt in found] == [Outcome.RETAINED], "the case has begun anew each time"


async def test_every_file_goes_before_the_receipt(world: Any) -> None:
    await start(world, world.tenant)
    while await world.eraser.erase_batch(world.database):
        continue
    assert await receipts(world, world.tenant) == []
    folder = await finish(world)
    assert sorted(folder.deleted) == sorted(f"{person}.webp" for person in (world.nora, world.omar))
    assert len(await receipts(world, world.tenant)) == 1


async def test_a_failing_tenant_holds_up_no_other_one(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Plan.change

    async def fail_for_ours(self: Plan, session: Any, *rest: Any, **more: Any) -> Any:
        if session.info["tenant_id"] == world.tenant:
            raise Killed
        return await change(self, session, *rest, **more)

    monkeypatch.setattr(Plan, "change", fail_for_ours)
    await start(world, world.tenant)
    await start(world, world.elsewhere)
    for _ in range(60):
        try:
            await world.eraser.erase_batch(world.database)
        except Killed:
            continue
        await world.eraser.delete_files(world.database, Folder())
    assert len(await receipts(world, world.elsewhere)) == 1
    assert await receipts(world, world.tenant) == []


async def test_two_tenants_take_turns(world: Any) -> None:
    first, second = await start(world, world.tenant), await start(world, world.elsewhere)
    for _ in range(6):
        await world.eraser.erase_batch(world.database)
    steps = await world.query("SELECT case_id, step FROM erasures")
    assert {row.case_id: row.step for row in steps} == {first: 2, second: 2}


async def test_what_belongs_to_nobodys_account_goes_too(world: Any) -> None:
    async with world.database.transaction(world.tenant) as session:
        session.add(world.sample.Party(tenant_id=world.tenant, address="a buyer without an account"))
        session.add(world.sample.Post(tenant_id=world.tenant, thread_id=uuid7(), body="nobody's words", mood="glum"))
    await start(world, world.tenant)
    await finish(world)
    assert await world.value("SELECT count(*) FROM parties") == 0
    assert await world.value("SELECT count(*) FROM posts WHERE body IS NOT NULL OR mood <> 'none'") == 0


async def test_members_who_went_before_are_not_counted_again(world: Any) -> None:
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.erase_account(session, account_id=world.nora, case_id=uuid7(), content=ContentChoice.KEEP)
    await start(world, world.tenant)
    await finish(world)
    (receipt,) = await receipts(world, world.tenant)
    assert receipt.accounts == 1
    assert await world.value("SELECT count(*) FROM posts WHERE body IS NOT NULL") == 0, "words kept go with the tenant"


async def test_a_hold_keeps_its_person_and_the_answer_until_it_is_lifted(world: Any) -> None:
    hold = {"tenant_id": world.tenant, "account_id": world.nora, "ground": "litigation"}
    async with world.database.transaction(world.tenant) as session:
        await session.execute(holds.insert().values(**hold, review_on=text("current_date")))
    await start(world, world.tenant)
    await finish(world)
    assert [r.outcome for r in await receipts(world, world.tenant)] == [Outcome.ON_HOLD]
    kept = "SELECT count(*) FROM posts p JOIN profiles USING (tenant_id) WHERE author_id = :id AND body IS NOT NULL"
    assert await world.value(kept, id=world.nora) == 2
    async with world.database.transaction(world.tenant) as session:
        await session.execute(holds.delete())
        await world.eraser.resume(session, world.nora)
    await finish(world)
    answers = await receipts(world, world.tenant)
    assert [(r.outcome, r.accounts) for r in answers[1:]] == [(Outcome.RETAINED, 2)]
    assert await world.value("SELECT count(*) FROM posts WHERE body IS NOT NULL") == 0


async def test_the_order_of_copied_state_forgets_its_people(world: Any) -> None:
    async with world.database.transaction(world.tenant) as session:
        row = {"type": "identity.account.roles_changed.v1", "key": str(world.omar), "epoch": 0, "version": 3}
        await session.execute(watermarks.insert().values(row))
    await start(world, world.tenant)
    await finish(world)
    assert await world.value("SELECT count(*) FROM watermarks WHERE key = :omar", omar=str(world.omar)) == 0


async def test_asking_again_repeats_the_receipt_and_counts_nobody_twice(world: Any) -> None:
    case_id = await start(world, world.tenant)
    await finish(world)
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.start_tenant(session, case_id=case_id, again=True)
    await finish(world)
    first, second = await receipts(world, world.tenant)
    assert (second.accounts, second.retained) == (first.accounts, first.retained)


async def test_a_rule_that_does_not_hold_is_answered_and_can_be_asked_again(world: Any) -> None:
    superuser = await world.superuser()
    await superuser.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER keep BEFORE DELETE ON profiles FOR EACH ROW EXECUTE FUNCTION keep()"
    )
    case_id = await start(world, world.tenant)
    await finish(world)
    (failed,) = await receipts(world, world.tenant)
    assert (failed.outcome, [c.rule for c in failed.counts]) == (Outcome.FAILED, ["profiles"])
    assert await world.value("SELECT count(*) FROM profiles") == 2
    assert await world.value("SELECT count(*) FROM posts WHERE body IS NOT NULL") == 0, (
        "the other rules have done theirs"
    )
    await superuser.execute("DROP TRIGGER keep ON profiles")
    await superuser.close()
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.start_tenant(session, case_id=case_id, again=True)
    await finish(world)
    assert (await receipts(world, world.tenant))[-1].outcome is Outcome.RETAINED


async def test_the_end_of_an_unknown_case_empties_nobodys_log(world: Any) -> None:
    named = "SELECT count(*) FROM event_log WHERE data IS NOT NULL"
    before = await world.value(named)
    async with world.database.transaction(world.tenant) as session:
        completed = CaseCompleted(tenant_id=world.tenant, case_id=uuid7(), outcome=CaseOutcome.COMPLETED)
        await world.eraser.forget_case(session, completed)
    assert await world.value(named) == before
