"""Journey 5: a backup is restored, and nobody who was erased after it comes back."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest

from deploy.backup.gate import RestoreUnfinished
from deploy.backup.manifest import Damaged, NoBackup
from deploy.backup.places import connected, open_place
from deploy.backup.restoring import plan_restore
from deploy.demo.client import Refused
from shared.bus.contracts import Envelope
from shared.bus.topology import names
from shared.db import utc_now, uuid7
from shared.events.identity import AccountRegistered, Language, Role
from tests.journeys.conftest import places_of
from tests.support.installations import Embedded, Installation, Separate
from tests.support.spaces import PASSWORD, Space, crowd, open_space
from tests.support.traces import Traces, everything_about, join_as, leave_traces

# Each starts an installation of its own, twice, and the command several times.
pytestmark = pytest.mark.timeout(900)
# What billing keeps by law of somebody who is erased.
DECLARED = {"billing.documents", "billing.quotes"}


def new_folder(kind: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"cowork-restore-{kind}-"))
    folder.chmod(0o755)
    return folder


@pytest.fixture
async def embedded(postbox: Any) -> AsyncIterator[Embedded]:
    installation = Embedded(new_folder("embedded"), postbox)
    await installation.start()
    yield installation
    await installation.stop()
    shutil.rmtree(installation.suite.folder, ignore_errors=True)


@pytest.fixture(params=["embedded", "separate"])
async def installation(request: Any, postbox: Any, amqp_url: str) -> AsyncIterator[Installation]:
    folder = new_folder(request.param)
    made = Embedded(folder, postbox) if request.param == "embedded" else Separate(folder, postbox, amqp_url)
    await made.start()
    yield made
    await made.stop()
    shutil.rmtree(folder, ignore_errors=True)


async def test_nobody_who_was_erased_after_the_backup_comes_back(installation: Any, tmp_path: Path) -> None:
    suite, traces, backup = installation.suite, Traces(), tmp_path / "backup"
    space, other = await open_space(suite), await open_space(suite)
    nora, omar, kim = await join_as(space, traces), await space.join("Omar"), await space.join("Kim")
    await leave_traces(space, nora, omar, traces)
    kept = await space.client.call("POST", "/feed/v1/posts", {"body": f"Kept{uuid4().hex}"}, by=kim)
    others = await crowd(other, 20)
    await space.quiet()
    omars = await everything_about(space, omar)
    code, made, said = await installation.cowork("backup", backup, "--json")
    assert (code, made["files"], made["ledger_position"]) == (0, 2, 0), said

    await leave(space, nora, kim, other)
    lena = await space.join("Lena", last_name=f"Late{uuid4().hex[:8]}")
    await space.quiet()
    code, _, said = await installation.cowork("restore", backup, "--replace", "--yes")
    assert (code, "is being served" in said) == (1, True), said
    await installation.halt()
    ghosts = [await leave_in_queue(suite, space)] if isinstance(installation, Separate) else []
    code, done, said = await installation.cowork("restore", backup, "--replace", "--yes", "--json")
    assert code == 0, said
    assert (done["subjects"], done["files"], done["purged"]) == (3, 2, len(ghosts))

    await installation.resume()
    await only_who_stays_signs_in(space, other, omar, (nora, kim, lena))
    omar = await space.client.sign_in(omar.email, PASSWORD)
    assert await everything_about(space, omar) == omars
    await cases_of_the_restore_complete(space, 3)
    ids = [one.account_id for one in (nora, kim, lena, other.alma)]
    await nothing_is_left(suite, traces, [*ids, *ghosts], others)
    (post,) = await suite.query("feed", "SELECT author_id, body FROM posts WHERE id = $1", UUID(kept["id"]))
    assert post["body"] == kept["body"], "Kim chose to leave the words behind"
    assert str(post["author_id"]) != kim.account_id
    await later_events_have_a_higher_epoch(suite)
    assert (await installation.cowork("ledger", "verify", "--json"))[:2] == (0, {"entries": 3, "breaks_at": None})


async def only_who_stays_signs_in(space: Space, other: Space, omar: Any, gone: Sequence[Any]) -> None:
    """The time after the backup has not been, and no session of the time before is left."""
    for where, member in (*((space, one) for one in gone), (other, other.alma)):
        with pytest.raises(Refused):
            await where.client.sign_in(member.email, PASSWORD)
    with pytest.raises(Refused, match="401"):
        await space.client.call("GET", "/identity/v1/profile", by=omar)


async def leave(space: Space, nora: Any, kim: Any, other: Space) -> None:
    """Nora goes, Kim goes and leaves her words, and the other space goes with everybody."""
    await space.completed(await space.deactivate(nora))
    await space.completed(await space.deactivate(kim, content="keep"))
    url, confirmation = "/identity/v1/tenant/deactivation", {"confirmation": other.slug}
    answer = await other.client.call("PUT", url, confirmation, by=other.alma)
    await other.completed(answer["case_id"])


async def leave_in_queue(suite: Any, space: Space) -> str:
    """An event of the future that is about to be lost waits in a queue: somebody has registered."""
    account_id = uuid7()
    event = AccountRegistered(
        tenant_id=space.tenant_id, account_id=account_id, language=Language.EN, roles=[Role.MEMBER]
    )
    envelope = Envelope(uuid7(), event.type, event.tenant_id, event.key, 1, 0, utc_now(), event.model_dump(mode="json"))
    connection = await aio_pika.connect(suite._amqp_url)
    async with connection:
        channel = await connection.channel()
        queue, _ = names(suite.namespace, "notify")
        await channel.default_exchange.publish(aio_pika.Message(envelope.encode()), routing_key=queue)
    return str(account_id)


async def cases_of_the_restore_complete(space: Space, count: int) -> None:
    query = "SELECT count(*) AS all, count(completed_at) AS completed FROM cases WHERE reason = 'restore'"
    for _ in range(600):
        ((every, completed),) = await space.suite.query("privacy", query)
        if every == completed:
            break
        await asyncio.sleep(0.1)
    assert (every, completed) == (count, count)
    await space.quiet()


async def nothing_is_left(suite: Any, traces: Traces, ids: list[str], crowd: list[UUID]) -> None:
    found = await places_of(suite, [*traces.all(), *ids])
    declared = {traces.values["Buyername"], traces.values["Street"]}
    for value, where in found.items():
        assert where <= (DECLARED if value in declared else set()), f"{value} is in {where}"
    # The crowd's posts have the ids of their authors, and stay without words.
    for service, held in (("identity", "accounts WHERE id"), ("feed", "posts WHERE body IS NOT NULL AND id")):
        assert await suite.query(service, f"SELECT FROM {held} = ANY($1)", crowd) == []


async def later_events_have_a_higher_epoch(suite: Any) -> None:
    rows = await suite.query("privacy", "SELECT DISTINCT epoch FROM event_log WHERE type = 'privacy.case.completed.v1'")
    assert min(row["epoch"] for row in rows) > 1_000_000
    rows = await suite.query("identity", "SELECT min(epoch) AS before FROM event_log")
    assert rows[0]["before"] == 0


async def test_what_cannot_be_restored_is_refused_and_nothing_is_lost(embedded: Embedded, tmp_path: Path) -> None:
    space, backup = await open_space(embedded.suite), tmp_path / "backup"
    omar = await space.join("Omar")
    await space.quiet()
    assert (await embedded.cowork("backup", backup))[0] == 0
    assert (await embedded.cowork("backup", backup))[0] == 1, "a backup goes into a folder of its own"
    await embedded.suite.suite.stop()
    await embedded.suite.postgres.start()
    before = await embedded.fingerprint()
    feed, manifest = backup / "databases" / "feed.dump", backup / "manifest.json"
    whole = {path: path.read_bytes() for path in (feed, manifest)}
    for path, damage, refusal, says in (
        (feed, lambda content: content[:-9] + b"x" + content[-8:], Damaged, "feed.dump is damaged"),
        (feed, None, Damaged, "feed.dump is missing"),
        (manifest, lambda content: content.replace(b'"format": 1', b'"format": 7'), Damaged, "does not know"),
        (manifest, lambda content: re.sub(rb"20\d{6}_\w+", b"20990101_of_next_year", content), Damaged, "of_next_year"),
        (manifest, None, NoBackup, "no backup"),
    ):
        path.unlink() if damage is None else path.write_bytes(damage(whole[path]))
        async with open_place(embedded.suite.folder) as place:
            with pytest.raises(refusal, match=says):
                await plan_restore(place, backup, ledger=None, replace=True)
        path.write_bytes(whole[path])
    assert (await embedded.cowork("restore", tmp_path / "elsewhere"))[0] == 4
    code, _, said = await embedded.cowork("restore", backup)
    assert (code, "--replace" in said) == (1, True), said
    code, plan, said = await embedded.cowork("restore", backup, "--replace", "--dry-run", "--json")
    assert (code, plan["ledger"], len(plan["replaces"])) == (0, "the live one", 7), said
    assert await embedded.fingerprint() == before
    await embedded.suite.postgres.stop()
    await embedded.resume()
    await space.client.call("GET", "/identity/v1/profile", by=omar)


async def test_an_interrupted_restore_serves_nobody_and_is_repeated(embedded: Embedded, tmp_path: Path) -> None:
    space, backup = await open_space(embedded.suite), tmp_path / "backup"
    omar, nora = await space.join("Omar"), await space.join("Nora", last_name=f"Nora{uuid4().hex[:8]}")
    kim = await space.join("Kim", last_name=f"Kim{uuid4().hex[:8]}")
    values = [nora.account_id, kim.account_id]
    for one in (nora, kim):
        values.append((await space.client.call("GET", "/identity/v1/profile", by=one))["last_name"])
    await space.quiet()
    assert (await embedded.cowork("backup", backup))[0] == 0
    await space.completed(await space.deactivate(nora))
    # Nobody completes Kim's case: the ledger does not know it when the restore begins.
    await embedded.suite.kill_service("privacy")
    await commanded(space, await space.deactivate(kim))
    await embedded.halt()
    for point in ("restore.after_database:3", "restore.after_replay"):
        code, _, said = await embedded.cowork("restore", backup, "--replace", "--yes", COWORK_CRASH=point)
        assert code == 70, said
        half = embedded.again()
        with pytest.raises(RestoreUnfinished, match="cowork restore"):
            await half.start()
        await half.stop()
    code, done, said = await embedded.cowork("restore", backup, "--yes", "--json")
    assert (code, done["subjects"]) == (0, 2), said
    await embedded.resume()
    await space.client.sign_in(omar.email, PASSWORD)
    await cases_of_the_restore_complete(space, 2)
    assert await places_of(embedded.suite, values) == {value: set() for value in values}
    async with connected(embedded.owner("ledger")) as ledger:
        assert {row["kind"] for row in await ledger.fetch("SELECT kind FROM runs")} == {"backup", "restore"}


async def commanded(space: Space, case_id: str) -> None:
    """Wait until identity has passed the point of no return of a case."""
    for _ in range(300):
        if await space.suite.query("identity", "SELECT FROM erasures WHERE case_id = $1", UUID(case_id)):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not commanded")


async def test_a_backup_is_tried_beside_the_suite_that_runs(embedded: Embedded, tmp_path: Path) -> None:
    space, backup = await open_space(embedded.suite), tmp_path / "backup"
    nora = await space.join("Nora")
    await space.quiet()
    assert (await embedded.cowork("backup", backup))[0] == 0
    await space.completed(await space.deactivate(nora))
    code, drilled, said = await embedded.cowork("drill", backup, "--json")
    assert (code, drilled["subjects"]) == (0, 1), said
    await space.client.call("GET", "/identity/v1/profile", by=space.alma)
    async with connected(embedded.owner("ledger")) as ledger:
        (run,) = await ledger.fetch("SELECT databases, subjects FROM runs WHERE kind = 'drill'")
    assert tuple(run) == (7, 1)


async def test_a_lost_ledger_is_given_from_its_own_newest_backup(embedded: Embedded, tmp_path: Path) -> None:
    space = await open_space(embedded.suite)
    nora = await space.join("Nora")
    await space.quiet()
    assert (await embedded.cowork("backup", tmp_path / "first"))[0] == 0
    await space.completed(await space.deactivate(nora))
    assert (await embedded.cowork("backup", tmp_path / "second"))[0] == 0
    async with connected(embedded.owner("ledger")) as ledger:
        await ledger.execute("DROP TABLE entries, checkpoints, origin, runs, alembic_version")
    await embedded.halt()
    code, _, said = await embedded.cowork("restore", tmp_path / "first", "--replace", "--yes")
    assert (code, "--ledger" in said) == (1, True), said
    newest = tmp_path / "second" / "ledger"
    code, done, said = await embedded.cowork(
        "restore", tmp_path / "first", "--replace", "--yes", "--json", "--ledger", newest
    )
    assert (code, done["subjects"]) == (0, 1), said
    await embedded.resume()
    with pytest.raises(Refused):
        await space.client.sign_in(nora.email, PASSWORD)
