"""Every rule is proven in its own transaction: one that does nothing, or is kept from doing it, is named in the receipt."""

import dataclasses
from typing import Any

import pytest
from sqlalchemy import text

from shared.db import uuid7
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import ContentChoice
from shared.events.privacy import CaseCompleted, CaseOutcome
from shared.privacy.erasure import Eraser
from shared.privacy.hooks import PersonalData
from shared.privacy.tables import holds

ACCOUNT_ERASED, _, _ = RECEIPTS["feed"]
IDLE = "SELECT true AS clean WHERE false"


async def erase(world: Any, eraser: Eraser, **more: Any) -> Any:
    case_id = more.pop("case_id", None) or uuid7()
    arguments = {"account_id": world.nora, "case_id": case_id, "content": ContentChoice.REMOVE, **more}
    async with world.database.transaction(world.tenant) as session:
        await eraser.erase_account(session, **arguments)
    return case_id


async def answers(world: Any) -> list[Any]:
    rows = await world.query("SELECT data FROM event_log WHERE type = :t ORDER BY position", t=ACCOUNT_ERASED.type)
    return [ACCOUNT_ERASED.model_validate(row.data) for row in rows]


async def test_each_rule_that_does_nothing_fails_the_receipt_by_name(world: Any) -> None:
    plan = world.eraser.plan
    async with world.database.transaction(world.tenant) as session:
        needed = {found.rule for found in await plan.remaining(session, [world.nora])}
    assert needed >= {
        "profiles",
        "profiles.invited_by",
        "posts.approved_by",
        "parties",
        "account_parties",
        "rooms.keeper_id",
    }
    for name in sorted(needed):
        rules = [dataclasses.replace(rule, erase=IDLE) if rule.name == name else rule for rule in plan.rules]
        lazy = Eraser("feed", world.manifest, PersonalData())
        lazy.plan = dataclasses.replace(plan, rules=tuple(rules))
        await erase(world, lazy)
        answer = (await answers(world))[-1]
        assert (answer.outcome, [count.rule for count in answer.counts]) == (Outcome.FAILED, [name])
    await erase(world, world.eraser)
    assert await world.query("SELECT 1 FROM profiles WHERE account_id = :id", id=world.nora) == []


@pytest.mark.parametrize(
    ("table", "event", "rule"), [("parties", "DELETE", "parties"), ("rooms", "UPDATE", "rooms.keeper_id")]
)
async def test_rows_that_the_database_itself_holds_back_are_found(
    world: Any, table: str, event: str, rule: str
) -> None:
    superuser = await world.superuser()
    await superuser.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        f"CREATE TRIGGER keep BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION keep()"
    )
    await superuser.close()
    await erase(world, world.eraser)
    (answer,) = await answers(world)
    assert (answer.outcome, [count.rule for count in answer.counts]) == (Outcome.FAILED, [rule])
    assert await world.query("SELECT 1 FROM profiles WHERE account_id = :id", id=world.nora), "rolled back as a whole"


async def test_counts_are_the_rows_that_changed(world: Any) -> None:
    await erase(world, world.eraser, content=ContentChoice.KEEP)
    await world.eraser.delete_files(world.database, Folder())
    (answer,) = await answers(world)
    assert {count.rule: count.count for count in answer.counts} == {
        "profiles": 1,
        "profiles.invited_by": 1,
        "posts.author_id+body+mood+reservation_id": 2,
        "posts.approved_by": 1,
        "parties": 1,
        "account_parties": 1,
        "invoices.note": 1,
        "rooms.keeper_id": 1,
        "event_log": 1,
    }


class Folder:
    async def delete(self, key: str) -> None:
        return None


async def test_a_lifted_hold_lets_the_waiting_erasure_go_on(world: Any) -> None:
    hold = {"tenant_id": world.tenant, "account_id": world.nora, "ground": "litigation"}
    async with world.database.transaction(world.tenant) as session:
        await session.execute(holds.insert().values(**hold, review_on=text("current_date")))
    await erase(world, world.eraser, content=ContentChoice.KEEP)
    async with world.database.transaction(world.tenant) as session:
        await session.execute(holds.delete())
        await world.eraser.resume(session, world.nora)
    await world.eraser.delete_files(world.database, Folder())
    assert [answer.outcome for answer in await answers(world)] == [Outcome.ON_HOLD, Outcome.RETAINED]
    assert await world.value("SELECT count(*) FROM posts WHERE body = 'write to •••'") == 1, "the choice is remembered"


async def test_what_is_retained_is_known_after_the_map_is_gone(world: Any) -> None:
    case_id = await erase(world, world.eraser)
    await world.eraser.delete_files(world.database, Folder())
    await erase(world, world.eraser, case_id=case_id, again=True)
    first, second = await answers(world)
    assert (second.retained, second.outcome) == (first.retained, Outcome.RETAINED)
    assert [row.count for row in second.retained] == [1]


async def test_a_request_that_comes_after_the_end_of_its_case_is_not_answered(world: Any) -> None:
    case_id = await erase(world, world.eraser)
    await world.eraser.delete_files(world.database, Folder())
    async with world.database.transaction(world.tenant) as session:
        completed = CaseCompleted(tenant_id=world.tenant, case_id=case_id, outcome=CaseOutcome.COMPLETED)
        await world.eraser.forget_case(session, completed)
    published = await world.value("SELECT count(*) FROM event_log")
    await erase(world, world.eraser, case_id=case_id, again=True)
    assert await world.value("SELECT count(*) FROM event_log") == published
    assert await world.value("SELECT account_id FROM erasures WHERE case_id = :c", c=case_id) is None


async def test_telephone_numbers_and_addresses_are_masked_and_dates_and_amounts_stay(world: Any) -> None:
    words = (
        "Call +33 (0)6 12 34 56 78 or 06.12.34.56.78, mail n.o+ra@exa-mple.org. On 2026-01-31 at 10:30, 1 250 000.00 €."
    )
    async with world.database.transaction(world.tenant) as session:
        await session.execute(
            text("UPDATE posts SET body = :words WHERE author_id = :id AND body = 'again'"),
            {"words": words, "id": world.nora},
        )
    await erase(world, world.eraser, content=ContentChoice.KEEP)
    masked = "Call ••• or •••, mail •••. On 2026-01-31 at 10:30, 1 250 000.00 €."
    assert await world.value("SELECT body FROM posts WHERE body LIKE 'Call%'") == masked
