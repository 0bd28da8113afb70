"""Parts of a backup: one moment of all databases, epochs that only rise, errors that quote nobody, secrets that grow."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from deploy.backup.files import files_of, pack, unpack
from deploy.backup.gate import close_gate, is_closed, is_open_to_all, open_gate, who_serves
from deploy.backup.kept import AboveRowSecurity, refuse_above_row_security
from deploy.backup.making import NewerDatabase, NotEmpty, make_backup
from deploy.backup.past import epoch_of, raise_epoch
from deploy.backup.places import LEDGER, Place, connected
from deploy.backup.snapshots import PauseEnded, snapshots
from deploy.backup.tools import ToolFailed, _refuse_unfit, check_archive, load
from deploy.embedded.secrets import load_or_make
from shared.bus import Consumers, publish
from shared.bus.leases import Lease
from shared.db import Database, uuid7
from shared.events.feed import PostPublished
from shared.events.identity import Language, TenantChanged
from tests.support.testing import receive


async def test_relays_rest_while_the_snapshots_are_taken_and_go_on_at_once(place: Place, urls: Any) -> None:
    feed = Database(urls["feed"].app, pool_size=2)
    relay = Lease(feed, "relay")
    assert await relay.acquire()
    event = PostPublished(tenant_id=uuid7(), post_id=uuid7(), author_id=uuid7(), is_announcement=False)
    async with snapshots(place) as taken:
        async with feed.transaction(event.tenant_id) as session:
            await publish(session, event)
        async with connected(place.owners["feed"]) as other, other.transaction(isolation="repeatable_read"):
            await other.execute(f"SET TRANSACTION SNAPSHOT '{taken['feed'].id}'")
            assert await other.fetchval("SELECT count(*) FROM event_log") == taken["feed"].position == 0
    assert await relay.acquire(), "the lease is given back"
    await feed.close()


async def test_a_relay_that_went_on_meanwhile_spoils_the_snapshots(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.backup.snapshots.PAUSE_SECONDS", 0)
    with pytest.raises(PauseEnded, match="try again"):
        async with snapshots(place):
            raise AssertionError("they are not of one moment")


async def test_a_backup_goes_into_a_folder_of_its_own(place: Place, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "other").touch()
    with pytest.raises(NotEmpty, match="not empty"):
        await make_backup(place, tmp_path / "backup", say=print)


async def test_what_could_not_be_restored_is_not_backed_up(place: Place, tmp_path: Path) -> None:
    change = "UPDATE alembic_version SET version_num = $1 WHERE version_num = $2"
    for name in ("feed", LEDGER):
        async with connected(place.owners[name]) as owner:
            known = await owner.fetchval("SELECT min(version_num) FROM alembic_version")
            await owner.execute(change, "of_next_year", known)
            with pytest.raises(NewerDatabase, match=f"database of {name} is at revision of_next_year"):
                await make_backup(place, tmp_path / "backup", say=print)
            await owner.execute(change, known, "of_next_year")
    assert not (tmp_path / "backup").exists()


async def test_only_files_that_a_row_names_are_kept_and_others_go_at_the_restore(tmp_path: Path) -> None:
    files = files_of((tmp_path / "store").as_uri(), "feed")
    for key in ("tenant/one.webp", "two", "orphan"):
        await files.put(key, key.encode())
    assert await pack(files, ["tenant/one.webp", "two", "erased-meanwhile"], tmp_path / "feed.tar") == (2, 1)
    await files.put("later", b"of somebody who has come since")
    assert await unpack(tmp_path / "feed.tar", files) == 2
    stored = files.keys()
    assert sorted([key async for key in stored]) == ["tenant/one.webp", "two"]
    assert await files.get("tenant/one.webp") == b"tenant/one.webp"


async def test_news_after_a_restore_win_over_news_of_the_future_that_is_lost(databases: Any) -> None:
    publisher, subscriber = await databases.clone("identity"), await databases.clone("feed")
    seen: list[str] = []
    consumers = Consumers("feed")

    @consumers.on(TenantChanged, latest_only=True)
    async def note(session: Any, event: TenantChanged) -> None:
        seen.append(event.slug)

    identity, feed = Database(publisher.app, pool_size=1), Database(subscriber.app, pool_size=1)
    assert await epoch_of(publisher.owner) == 0
    first = await raise_epoch(publisher.owner, above=0)
    assert await raise_epoch(publisher.owner, above=0) == first + 1, "restored twice within a minute"
    assert await raise_epoch(publisher.owner, above=first + 9) == first + 10
    event = changed("restored")
    async with identity.transaction(event.tenant_id) as session:
        await publish(session, event, version=3)
        log = await (await session.connection()).exec_driver_sql("SELECT epoch FROM event_log")
        (epoch,) = log.scalars().all()
    assert epoch == first + 10
    await receive(feed, consumers, event.model_copy(update={"slug": "lost"}), version=9)
    await receive(feed, consumers, event, version=3, epoch=epoch)
    await receive(feed, consumers, event.model_copy(update={"slug": "late"}), version=10)
    assert seen == ["lost", "restored"]
    await identity.close()
    await feed.close()


def changed(slug: str) -> TenantChanged:
    return TenantChanged(
        tenant_id=uuid7(), slug=slug, languages=[Language.FR], default_language=Language.FR, time_zone="Europe/Paris"
    )


async def test_nobody_connects_while_the_gate_is_closed(urls: Any) -> None:
    owner, app = urls["feed"].owner, urls["feed"].app
    async with connected(app):
        assert "connections" in (await who_serves(owner) or "")
    await close_gate([owner])
    assert await is_closed(owner)
    assert not await is_open_to_all(owner)
    with pytest.raises(Exception, match="permission denied for database"):
        async with connected(app):
            pass
    await open_gate([owner])
    async with connected(app) as again:
        assert await again.fetchval("SELECT 1") == 1


async def test_a_superuser_does_not_restore(place: Place, urls: Any) -> None:
    await refuse_above_row_security(place)
    database = urls["feed"].owner.rsplit("/", 1)[1]
    above = os.environ["COWORK_RUN_PG_URL"].replace("postgresql://", "postgresql+asyncpg://").rsplit("/", 1)[0]
    with pytest.raises(AboveRowSecurity, match="feed"):
        await refuse_above_row_security(Place({**place.owners, "feed": f"{above}/{database}"}, "k", "file:///nowhere"))


@pytest.mark.parametrize(
    ("version", "server", "fits"), [(18, 18, True), (18, 17, True), (16, 18, False), (17, 16, False)]
)
def test_programs_that_could_not_load_what_they_dump_are_refused(version: int, server: int, fits: bool) -> None:
    with nullcontext() if fits else pytest.raises(ToolFailed, match="COWORK_PG_BIN"):
        _refuse_unfit(Path("pg_restore"), version, server)


async def test_a_dump_that_cannot_be_read_is_refused_before_anything_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "no.dump").write_bytes(b"nothing of the kind")
    with pytest.raises(ToolFailed):
        await check_archive(tmp_path / "no.dump")


async def test_what_a_tool_says_quotes_no_row_and_no_password(urls: Any, tmp_path: Path) -> None:
    (tmp_path / "no.dump").write_bytes(b"nora@example.org")
    with pytest.raises(ToolFailed) as failed:
        await load(tmp_path / "no.dump", urls["feed"].owner)
    said = str(failed.value)
    assert said.startswith("pg_restore failed:")
    assert "nora@example.org" not in said
    assert os.environ["COWORK_RUN_PASSWORD"] not in said + repr(Place({"feed": urls["feed"].owner}, "key", "file:///x"))


def test_an_older_installation_gets_the_ledgers_passwords_and_keeps_its_own(tmp_path: Path) -> None:
    made = load_or_make(tmp_path)
    path = tmp_path / "secrets.json"
    old = json.loads(path.read_text())
    del old["databases"]["ledger"]
    path.write_text(json.dumps(old))
    grown = load_or_make(tmp_path)
    assert grown.databases.keys() == made.databases.keys()
    assert grown.databases["feed"] == made.databases["feed"]
    assert load_or_make(tmp_path) == grown
    assert path.stat().st_mode & 0o077 == 0
