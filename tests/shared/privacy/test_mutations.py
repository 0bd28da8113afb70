"""The checks can fail: with a guard, a mark or a rule taken away, the erasure leaves something that they find."""

import dataclasses
import os
from typing import Any

import asyncpg
import pytest

from shared.db import uuid7
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import ContentChoice
from shared.privacy.erasure import Eraser
from shared.privacy.hooks import PersonalData
from shared.privacy.manifest import Manifest
from shared.privacy.marks import MARK, not_personal

ACCOUNT_ERASED, _, _ = RECEIPTS["feed"]


async def erase(world: Any, eraser: Eraser) -> None:
    async with world.database.transaction(world.tenant) as session:
        await eraser.erase_account(session, account_id=world.nora, case_id=uuid7(), content=ContentChoice.REMOVE)


async def left(world: Any) -> bool:
    """Whether a value of Nora is still in the posts."""
    return bool(await world.value("SELECT count(*) FROM posts p WHERE p::text LIKE '%nora@example.org%'"))


async def test_without_the_tombstone_trigger_somebody_comes_back(world: Any) -> None:
    await erase(world, world.eraser)
    superuser = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=world.database.engine.url.database)
    await superuser.execute("DROP TRIGGER guard ON profiles")
    await superuser.close()
    async with world.database.transaction(world.tenant) as session:
        session.add(world.sample.Profile(tenant_id=world.tenant, account_id=world.nora, email="back@example.org"))
    assert await world.value("SELECT count(*) FROM profiles WHERE email = 'back@example.org'") == 1


async def test_without_its_mark_a_column_keeps_its_value(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    column = world.sample.Post.__table__.c.body
    monkeypatch.setitem(column.info, MARK, not_personal("said to be harmless")[MARK])
    forgetful = Eraser("feed", Manifest.of("feed", world.sample.Base.metadata), PersonalData())
    await erase(world, forgetful)
    assert await left(world), "the search for values finds what the mark no longer erases"


@pytest.mark.parametrize("table", ["profiles", "posts", "account_parties", "parties", "rooms"])
async def test_without_a_rule_the_verification_finds_what_is_left(world: Any, table: str) -> None:
    plan = world.eraser.plan
    kept = tuple(rule for rule in plan.rules if rule.name.split(".")[0] != table)
    assert len(kept) < len(plan.rules)
    forgetful = Eraser("feed", world.manifest, PersonalData())
    forgetful.plan = dataclasses.replace(plan, rules=kept)
    before = await accounts_in(world, table)
    await erase(world, forgetful)
    assert before
    if table != "parties":
        async with world.database.transaction(world.tenant) as session:
            assert await plan.remaining(session, [world.nora]), "the whole plan's post-conditions are not met"


async def accounts_in(world: Any, table: str) -> int:
    return int(await world.value(f"SELECT count(*) FROM {table}"))


async def test_a_rule_that_leaves_rows_unclean_fails_the_receipt(world: Any) -> None:
    plan = world.eraser.plan
    rules = [
        dataclasses.replace(rule, erase=rule.erase.replace("mood = 'none',", "", 1))
        if rule.name.startswith("posts.")
        else rule
        for rule in plan.rules
    ]
    assert [rule.erase for rule in rules] != [rule.erase for rule in plan.rules]
    broken = Eraser("feed", world.manifest, PersonalData())
    broken.plan = dataclasses.replace(plan, rules=tuple(rules))
    await erase(world, broken)
    rows = await world.query("SELECT data FROM event_log WHERE type = :t", t=ACCOUNT_ERASED.type)
    assert [ACCOUNT_ERASED.model_validate(row.data).outcome for row in rows] == [Outcome.FAILED]
    assert await left(world), "the failed erasure was rolled back as a whole"
