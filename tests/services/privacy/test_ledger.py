"""The erasure ledger: hashes only, a chain that shows every change, entries that end with the oldest backup, no lost case."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from services.privacy.app import create_service
from services.privacy.jobs import move_old_entries
from services.privacy.ledger import ChainBroken, Entry, Ledger
from services.privacy.settings import Settings
from shared.bus import crash
from shared.db import utc_now, uuid7
from shared.events.identity import ContentChoice
from shared.events.privacy import CaseCompleted
from shared.telemetry import REGISTRY

NOBODY = "postgresql+asyncpg://nobody@127.0.0.1:9/nothing"


class Book:
    """A ledger of its own, and the pen of somebody who should not have one."""

    def __init__(self, ledger: Ledger, forger: Any, url: str) -> None:
        self.ledger = ledger
        self.forger = forger
        self.url = url
        self.tenant = uuid7()

    def entry(self, account_id: UUID | None = None, *, days_ago: int = 0, **more: str) -> Entry:
        said = {"outcome": "completed", "content": "remove", **more}
        digest = self.ledger.digest(self.tenant, account_id or uuid7())
        return Entry(digest, erased_at=utc_now() - timedelta(days=days_ago), **said)

    async def positions(self) -> list[int]:
        return [row[0] for row in await self.forger.fetch("SELECT position FROM entries ORDER BY position")]


@pytest.fixture
async def book(databases: Any) -> AsyncIterator[Book]:
    urls = await databases.clone("ledger")
    forger = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=urls.app.rsplit("/", 1)[1])
    # Whoever owns the server is stopped by no trigger.
    await forger.execute("SET session_replication_role = replica")
    ledger = Ledger("k" * 48, urls.app)
    yield Book(ledger, forger, urls.app)
    await ledger.close()
    await forger.close()


async def test_a_second_entry_of_a_subject_is_not_made(book: Book) -> None:
    nora = uuid7()
    assert await book.ledger.append(book.entry(nora)) == 1
    assert await book.ledger.append(book.entry(nora), book.entry(nora, content="keep"), book.entry()) == 1
    assert await book.ledger.knows(book.tenant, nora)
    assert not await book.ledger.knows(uuid7(), nora)
    assert sorted((await book.ledger.contents()).values()) == ["remove", "remove"]
    assert await book.ledger.verify() == 2


@pytest.mark.parametrize(
    "said", [{"outcome": "Nora, who left"}, {"content": "her posts"}, {"subject_hmac": b"nora@example.org"}]
)
async def test_the_database_refuses_whatever_is_no_hash_and_no_enum(book: Book, said: dict[str, Any]) -> None:
    entry = book.entry()
    values = {name: said.get(name, getattr(entry, name)) for name in entry.__slots__}
    with pytest.raises(DBAPIError):
        await book.ledger.append(Entry(**values))


async def test_nobody_rewrites_an_entry_with_the_services_own_role(book: Book) -> None:
    await book.ledger.append(book.entry())
    own = await asyncpg.connect(book.url.replace("+asyncpg", ""))
    for change in ("UPDATE entries SET content = 'keep'", "UPDATE checkpoints SET pruned = 9", "TRUNCATE entries"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own.execute(change)
    await own.close()


async def test_nobody_cuts_off_the_end_with_the_services_own_role(book: Book) -> None:
    await book.ledger.append(*(book.entry(days_ago=90) for _ in range(3)))
    await book.ledger.mark()
    await book.ledger.append(book.entry())
    own = await asyncpg.connect(book.url.replace("+asyncpg", ""))
    for cut in (
        "DELETE FROM entries WHERE position = 4",
        "DELETE FROM entries WHERE position > 1; DELETE FROM checkpoints",
        "DELETE FROM checkpoints",
        "CREATE TEMP TABLE checkpoints AS SELECT 9 AS position, 9 AS pruned; DELETE FROM public.entries",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own.execute(cut)
    assert await book.ledger.verify() == 4
    # Nothing takes a place without the key.
    await own.execute(
        "DELETE FROM entries; INSERT INTO checkpoints (position, hash, pruned, seal)"
        " VALUES (9, sha256('x'), 4, sha256('x'))"
    )
    await own.close()
    with pytest.raises(ChainBroken):
        await book.ledger.verify()


async def test_a_long_chain_is_verified_batch_by_batch(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.privacy.ledger.chain.BATCH", 2)
    await book.ledger.append(*(book.entry() for _ in range(5)))
    await book.ledger.mark()
    assert await book.ledger.verify() == 5
    await book.forger.execute("UPDATE entries SET content = 'keep' WHERE position = 5")
    with pytest.raises(ChainBroken) as broken:
        await book.ledger.verify()
    assert broken.value.position == 5


@pytest.mark.parametrize(
    ("forgery", "breaks_at"),
    [
        ("UPDATE entries SET content = 'keep' WHERE position = 3", 3),
        ("UPDATE entries SET erased_at = erased_at - interval '1 day' WHERE position = 2", 2),
        ("UPDATE entries SET subject_hmac = sha256('somebody else') WHERE position = 4", 4),
        ("DELETE FROM entries WHERE position = 2", 3),
        ("DELETE FROM entries WHERE position = 1", 2),
        # The end is cut off: the seal of the last night misses it.
        ("DELETE FROM entries WHERE position >= 4", 5),
        # It looks as if the first entries had been pruned, but for the seal.
        ("DELETE FROM entries WHERE position < 5; UPDATE checkpoints SET pruned = 4", 5),
    ],
)
async def test_the_chain_says_where_it_breaks(book: Book, forgery: str, breaks_at: int) -> None:
    await book.ledger.append(*(book.entry() for _ in range(5)))
    await book.ledger.mark()
    assert await book.ledger.verify() == 5
    await book.forger.execute(forgery)
    with pytest.raises(ChainBroken) as broken:
        await book.ledger.verify()
    assert broken.value.position == breaks_at


async def test_another_key_proves_nothing(book: Book) -> None:
    await book.ledger.append(book.entry())
    stranger = Ledger("x" * 48, book.url)
    with pytest.raises(ChainBroken):
        await stranger.verify()
    await stranger.close()


async def test_entries_older_than_every_backup_go_and_the_rest_still_verifies(book: Book) -> None:
    for days_ago in (90, 80, 3, 70, 2, 1):
        await book.ledger.append(book.entry(days_ago=days_ago))
    await book.ledger.mark()
    limit = utc_now() - timedelta(days=65)
    assert await book.ledger.prune(before=limit) == 2
    assert await book.positions() == [3, 4, 5, 6], "one that is older than the one before it waits for its turn"
    assert await book.ledger.verify() == 4
    assert await book.ledger.prune(before=limit) == 0
    await book.ledger.mark()
    assert await book.ledger.prune(before=utc_now()) == 4
    assert await book.ledger.verify() == 0
    await book.ledger.append(book.entry())
    assert await book.ledger.verify() == 1, "the chain goes on from where it was pruned"
    pruned = await book.forger.fetchval("SELECT max(pruned) FROM checkpoints")
    assert pruned == 6
    await book.forger.execute("UPDATE checkpoints SET hash = sha256('x')")
    with pytest.raises(ChainBroken):
        await book.ledger.verify()


async def test_the_night_prunes_what_no_backup_holds_any_more(book: Book, start: Any) -> None:
    night = await start("privacy", create_service, Settings, ledger_key="k" * 48, ledger_url=book.url)
    days = night.service.settings.backup_days
    old, young = uuid7(), uuid7()
    await book.ledger.append(book.entry(old, days_ago=days + 31), book.entry(young, days_ago=days + 29))
    await night.run_job("tend_ledger")
    assert not await book.ledger.knows(book.tenant, old)
    assert await book.ledger.knows(book.tenant, young)
    assert await book.ledger.verify() == 1


async def test_entries_of_the_services_own_database_move_once(office: Any) -> None:
    digests = [office.ledger.digest(office.tenant, uuid7()) for _ in range(3)]
    async with office.privacy.database.transaction() as session:
        for digest in digests:
            await (await session.connection()).exec_driver_sql(
                "INSERT INTO ledger (subject_hmac, outcome, erased_at, hash) VALUES ($1, 'completed', now(), $1)",
                (digest,),
            )
    assert await move_old_entries(office.privacy.database, office.ledger, limit=2) == 2
    assert await move_old_entries(office.privacy.database, office.ledger, limit=2) == 1
    assert await move_old_entries(office.privacy.database, office.ledger, limit=2) == 0
    contents = await office.ledger.contents()
    assert [contents[digest] for digest in digests] == ["remove"] * 3
    await office.ledger.verify()


async def test_a_completed_case_is_in_the_ledger_with_what_the_person_chose(office: Any) -> None:
    case_id = await office.answered(ContentChoice.KEEP)
    assert await office.verified(case_id)
    assert (await office.ledger.contents())[office.ledger.digest(office.tenant, office.nora.account_id)] == "keep"
    await office.ledger.verify()


async def test_a_crash_between_ledger_and_completion_does_no_harm(office: Any) -> None:
    case_id = await office.answered()
    crash.arm("case.after_ledger%100")
    try:
        with pytest.raises(crash.RolledBackOnPurpose):
            await office.verified(case_id)
    finally:
        crash.arm("")
    assert await office.ledger.knows(office.tenant, office.nora.account_id)
    assert (await office.case(case_id))["completed_at"] is None
    before = await office.ledger.contents()
    assert await office.verified(case_id)
    assert await office.ledger.contents() == before, "one entry, not two"
    assert len(await office.privacy.published(CaseCompleted, office.tenant)) == 1


async def test_a_case_waits_for_a_ledger_that_is_away(office: Any) -> None:
    case_id = await office.answered()
    away, waits = Ledger("l" * 48, NOBODY), "cowork_erasure_ledger_waits_total"
    before = REGISTRY.get_sample_value(waits)
    assert not await office.verified(case_id, ledger=away)
    await away.close()
    assert REGISTRY.get_sample_value(waits) == before + 1, "an alert asks for it"
    assert (await office.case(case_id))["completed_at"] is None
    assert await office.verified(case_id)


async def test_a_wrong_case_is_never_written_down(office: Any) -> None:
    case_id = await office.answered()
    assert await office.entry(case_id, feed=1) is None
    assert not await office.ledger.knows(office.tenant, office.nora.account_id)
    assert (await office.privacy.public.get(f"/cases/{uuid4()}")).status_code == 404
