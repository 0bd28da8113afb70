"""Erasing one account: every rule, its proof, and nobody coming back."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.db import uuid7
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import ContentChoice
from shared.events.privacy import CaseCompleted, CaseOutcome
from shared.privacy.manifest import census
from shared.privacy.tables import holds

ACCOUNT_ERASED, TENANT_ERASED, _ = RECEIPTS["feed"]


async def erase(world: Any, account: UUID, content: ContentChoice = ContentChoice.REMOVE, **more: Any) -> UUID:
    case_id = more.pop("case_id", None) or uuid7()
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.erase_account(session, account_id=account, case_id=case_id, content=content, **more)
    return case_id


class Folder:
    """A store of files that remembers what was deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def delete(self, key: str) -> None:
        self.deleted.append(key)


async def receipts(world: Any) -> list[Any]:
    rows = await world.query("SELECT data FROM event_log WHERE type = :t ORDER BY position", t=ACCOUNT_ERASED.type)
    return [ACCOUNT_ERASED.model_validate(row.data) for row in rows]


async def dump(world: Any) -> str:
    """Everything in the database, as the owner of the server sees it."""
    import os

    import asyncpg

    connection = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=world.database.engine.url.database)
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    await connection.execute("ANALYZE")
    found = [str(await connection.fetch(f"SELECT t::text FROM {table['relname']} t")) for table in tables]
    statistics = (
        "SELECT attname, most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname = 'public'"
    )
    found.append(str(await connection.fetch(statistics)))
    await connection.close()
    return "\n".join(found)


async def test_nothing_of_the_person_is_left_but_the_retained_fields(world: Any) -> None:
    assert str(world.nora) in await dump(world)
    case_id = await erase(world, world.nora)
    assert await receipts(world) == [], "the picture is still there"
    folder = Folder()
    await world.eraser.delete_files(world.database, folder)
    assert folder.deleted == [f"{world.nora}.webp"]
    (receipt,) = await receipts(world)
    assert receipt.outcome is Outcome.RETAINED
    assert [(r.rule, r.ground, str(r.until), r.count) for r in receipt.retained] == [
        ("invoices", "legal_archive", "2036-01-31", 1)
    ]
    async with world.database.transaction(world.tenant) as session:
        completed = CaseCompleted(tenant_id=world.tenant, case_id=case_id, outcome=CaseOutcome.COMPLETED_WITH_RETENTION)
        await world.eraser.forget_case(session, completed)
        await session.execute(text("UPDATE outbox SET key = key"))
    left = await dump(world)
    assert left.count("nora@example.org") == 1, "the buyer on the invoice"
    assert await world.value("SELECT buyer FROM invoices WHERE note IS NULL") == "nora@example.org"
    outside_log = await world.query("SELECT 1 FROM posts WHERE author_id = :id OR approved_by = :id", id=world.nora)
    assert outside_log == []
    assert left.replace("unrelayed", "").count(str(world.nora)) == await _unrelayed(world)


async def _unrelayed(world: Any) -> int:
    """Mentions of Nora in log rows that the broker has not confirmed; redacted by the relay on confirm."""
    rows = await world.query("SELECT event_log::text AS row FROM event_log WHERE redact_on_relay = 1")
    return sum(row.row.count(str(world.nora)) for row in rows) + (
        await world.value("SELECT count(*) FROM outbox WHERE key = :id", id=str(world.nora))
    )


async def test_other_people_keep_every_row(world: Any) -> None:
    query = "SELECT account_id, email, picture FROM profiles WHERE account_id = :id"
    posts = "SELECT body, mood, author_id, updated_at FROM posts WHERE author_id = :id ORDER BY id"
    before = await world.query(query, id=world.omar), await world.query(posts, id=world.omar)
    await erase(world, world.nora)
    assert (await world.query(query, id=world.omar), await world.query(posts, id=world.omar)) == before
    assert await world.query("SELECT 1 FROM profiles WHERE invited_by = :id", id=world.nora) == []


async def test_an_approver_stays_on_the_erased_members_post(world: Any) -> None:
    await erase(world, world.nora)
    rows = await world.query(
        "SELECT approved_by FROM posts WHERE author_id <> :omar AND approved_by IS NOT NULL", omar=world.omar
    )
    assert [row.approved_by for row in rows] == [world.omar]


async def test_surrogates_differ_between_threads_and_agree_within_one(world: Any) -> None:
    await erase(world, world.nora)
    rows = await world.query(
        "SELECT thread_id, author_id, approved_by FROM posts WHERE author_id <> :omar", omar=world.omar
    )
    assert len({row.author_id for row in rows}) == 2
    approved = await world.value(
        "SELECT approved_by FROM posts WHERE author_id = :omar AND approved_by IS NOT NULL", omar=world.omar
    )
    assert approved in {row.author_id for row in rows if row.thread_id == world.thread}
    assert all(row.author_id.version == 4 for row in rows)


async def test_kept_words_lose_their_contact_details(world: Any) -> None:
    await erase(world, world.nora, ContentChoice.KEEP)
    bodies = await world.query("SELECT body, mood FROM posts WHERE author_id <> :omar ORDER BY body", omar=world.omar)
    assert [(row.body, row.mood) for row in bodies] == [("again", "none"), ("write to •••", "none")]


async def test_a_second_delivery_changes_nothing_and_a_redrive_answers_again(world: Any) -> None:
    case_id = await erase(world, world.nora)
    await world.eraser.delete_files(world.database, Folder())
    await erase(world, world.nora, case_id=case_id)
    assert len(await receipts(world)) == 1
    await erase(world, world.nora, case_id=case_id, again=True)
    assert [r.outcome for r in await receipts(world)] == [Outcome.RETAINED, Outcome.RETAINED]


@pytest.mark.parametrize(
    "write",
    [
        "INSERT INTO profiles (tenant_id, account_id, email) VALUES (:t, :nora, 'back')",
        "INSERT INTO posts (id, tenant_id, thread_id, author_id, mood) VALUES (gen_random_uuid(), :t, :t, :nora, 'x')",
        "UPDATE rooms SET keeper_id = :nora",
        "UPDATE profiles SET invited_by = :nora",
        "INSERT INTO account_parties (tenant_id, account_id, party_id) VALUES (:t, :nora, gen_random_uuid())",
        "INSERT INTO idempotency_keys (tenant_id, digest, account_id, body_digest, made_id) VALUES (:t, '', :nora, '', '')",
    ],
)
async def test_nobody_comes_back(world: Any, write: str) -> None:
    await erase(world, world.nora)
    with pytest.raises(DBAPIError) as caught:
        async with world.database.transaction(world.tenant) as session:
            await session.execute(
                text(write), {k: v for k, v in {"t": world.tenant, "nora": world.nora}.items() if f":{k}" in write}
            )
    assert caught.value.orig.sqlstate == "CW410"


async def test_a_tombstone_is_laid_even_for_somebody_unknown(world: Any) -> None:
    stranger = uuid7()
    await erase(world, stranger)
    (receipt,) = await receipts(world)
    assert receipt.outcome is Outcome.NOTHING_HELD
    with pytest.raises(DBAPIError):
        async with world.database.transaction(world.tenant) as session:
            session.add(world.sample.Profile(tenant_id=world.tenant, account_id=stranger, email="late@example.org"))


async def test_a_racing_write_is_erased_or_refused(world: Any) -> None:
    async def write(person: UUID) -> None:
        async with world.database.transaction(world.tenant) as session:
            session.add(world.sample.Profile(tenant_id=world.tenant, account_id=person, email="racer@example.org"))

    for _ in range(25):
        person = uuid7()
        await asyncio.gather(*(write(person) for _ in range(1)), erase(world, person), return_exceptions=True)
        assert await world.query("SELECT 1 FROM profiles WHERE account_id = :p", p=person) == []


async def test_a_legal_hold_stops_the_erasure_and_says_so(world: Any) -> None:
    async with world.database.transaction(world.tenant) as session:
        row = {"tenant_id": world.tenant, "account_id": world.nora, "ground": "litigation"}
        await session.execute(holds.insert().values(**row, review_on=text("current_date")))
    await erase(world, world.nora)
    (receipt,) = await receipts(world)
    assert receipt.outcome is Outcome.ON_HOLD
    assert await world.query("SELECT 1 FROM profiles WHERE account_id = :id", id=world.nora)


async def test_a_foreign_tenant_sees_and_writes_nothing(world: Any) -> None:
    for table in world.sample.Base.metadata.sorted_tables:
        async with world.database.transaction(world.elsewhere) as session:
            seen = (await session.execute(text(f"SELECT DISTINCT tenant_id FROM {table.name}"))).scalars().all()
            assert seen == [world.elsewhere], table.name
            touched = await session.execute(text(f"DELETE FROM {table.name} WHERE tenant_id = :t"), {"t": world.tenant})
            assert touched.rowcount == 0
    with pytest.raises(DBAPIError):
        async with world.database.transaction(world.elsewhere) as session:
            session.add(world.sample.Room(tenant_id=world.tenant, name="Trojan"))


async def test_the_marks_cover_every_column_of_the_database(world: Any) -> None:
    assert world.manifest.faults() == []
    async with world.database.engine.connect() as connection:
        assert await census(connection, world.manifest) == []
    column = world.sample.Post.__table__.c.body
    mark = column.info.pop("privacy")
    try:
        assert world.manifest.faults() == ["posts.body: unmarked"]
        async with world.database.engine.connect() as connection:
            assert await census(connection, world.manifest) == ["posts.body: in the database, not in the marks"]
    finally:
        column.info["privacy"] = mark


async def test_a_whole_tenant_goes_in_pieces_and_another_stays(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.privacy.walk.TURN_SECONDS", 0)
    case_id = uuid7()
    async with world.database.transaction(world.tenant) as session:
        await world.eraser.start_tenant(session, case_id=case_id)
    for step in (0, 1):
        assert await world.eraser.erase_batch(world.database)
        (progress,) = await world.query("SELECT done, total, step FROM erasures WHERE case_id = :c", c=case_id)
        assert (progress.done, progress.total, progress.step) == (0, 2, step)
    while await world.eraser.erase_batch(world.database):
        continue
    await world.eraser.delete_files(world.database, Folder())
    assert await world.eraser.erase_batch(world.database), "the case is closed when its files are gone"
    rows = await world.query("SELECT data FROM event_log WHERE type = :t", t=TENANT_ERASED.type)
    (receipt,) = [TENANT_ERASED.model_validate(row.data) for row in rows]
    assert receipt.outcome is Outcome.RETAINED
    assert receipt.accounts == 2
    assert await world.value("SELECT count(*) FROM profiles") == 0
    assert await world.value("SELECT count(*) FROM posts WHERE body IS NULL AND mood = 'none'") == 4
    async with world.database.transaction(world.elsewhere) as session:
        assert await session.scalar(text("SELECT count(*) FROM posts WHERE body IS NOT NULL")) == 2
    with pytest.raises(DBAPIError):
        async with world.database.transaction(world.tenant) as session:
            session.add(world.sample.Profile(tenant_id=world.tenant, account_id=uuid7(), email="new@example.org"))


async def test_the_application_role_reads_no_key_and_rewrites_no_log(world: Any) -> None:
    for forbidden in ("SELECT * FROM tombstone_key", "UPDATE event_log SET type = 'x'", "DROP TABLE posts"):
        with pytest.raises(DBAPIError):
            async with world.database.transaction(world.tenant) as session:
                await session.execute(text(forbidden))
