"""A person's copy: named before it is written, collected in spite of a missing file, and never in anybody else's way."""

import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.privacy.exports import MAX_ATTEMPTS, build_archive, delay_after
from shared.bus import crash
from shared.db import utc_now
from shared.events.privacy import ExportCompleted
from shared.privacy import retention

DUE = "UPDATE exports SET due_at = now() RETURNING id"


@pytest.fixture
def dies_after_put() -> Any:
    crash.arm("export.after_put%100")
    yield
    crash.arm("")


@pytest.fixture(autouse=True)
async def empty_store(office: Any) -> AsyncIterator[None]:
    """Each test begins without files, and without others' exports that would be due."""
    for key in await stored(office):
        await office.privacy.service.files.delete(key)
    yield
    await office.privacy.rows("DELETE FROM exports RETURNING id", office.tenant)


async def stored(office: Any) -> list[str]:
    return [key async for key in office.privacy.service.files.keys()]  # noqa: SIM118 (a listing, not a mapping)


async def ask(person: Any) -> str:
    """Ask for a copy; return its address."""
    asked = await person.post("/exports")
    return str(asked.headers["location"]).removeprefix("/api/privacy/v1")


async def erase_nora(office: Any) -> None:
    await office.command(office.nora.account_id)
    await office.privacy.run_job("delete_erased_files")


async def test_an_export_needs_a_recent_sign_in_and_waits_for_every_service(office: Any) -> None:
    stale = office.privacy.person(office.tenant, authenticated_at=utc_now() - timedelta(hours=1))
    refused = await stale.post("/exports")
    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_required")
    asked = await office.ada.post("/exports")
    assert asked.status_code == 202
    url = asked.headers["location"].removeprefix("/api/privacy/v1")
    await office.privacy.run_job("collect_exports")
    assert (await office.ada.get(url)).json()["state"] == "waiting", "the others are down"
    assert (await office.ada.get(f"{url}/file")).json()["code"] == "export_not_ready"
    assert (await office.nora.get(url)).status_code == 404


async def test_a_copy_whose_worker_dies_is_named_already_and_not_ready(
    office: Any, others: Any, dies_after_put: None
) -> None:
    url = await ask(office.ada)
    for _ in range(2):
        await office.privacy.run_job("collect_exports")
        await office.privacy.rows(DUE, office.tenant)
    named = [row.key for row in await office.privacy.rows("SELECT key FROM exports", office.tenant)]
    assert await stored(office) == named, "the second attempt takes the first one's name"
    assert (await office.ada.get(url)).json()["state"] == "waiting"
    assert (await office.ada.get(f"{url}/file")).json()["code"] == "export_not_ready"
    crash.arm("")
    await office.privacy.run_job("collect_exports")
    assert (await office.ada.get(f"{url}/file")).status_code == 200
    assert len(await office.privacy.published(ExportCompleted, office.tenant)) == 1


@pytest.mark.parametrize("ends_by", ["erasure", "sweep"])
async def test_a_copy_that_was_never_finished_goes_with_its_row(
    office: Any, others: Any, dies_after_put: None, ends_by: str
) -> None:
    await ask(office.nora)
    await office.privacy.run_job("collect_exports")
    assert len(await stored(office)) == 1
    service = office.privacy.service
    if ends_by == "erasure":
        await office.command(office.nora.account_id)
    else:
        await retention.sweep(service.database, service.manifest, now=utc_now() + timedelta(days=8))
    await office.privacy.run_job("delete_erased_files")
    assert await stored(office) == []


async def test_a_copy_of_somebody_who_is_erased_meanwhile_goes_at_once(office: Any, others: Any) -> None:
    await ask(office.nora)
    others.meanwhile = lambda: erase_nora(office)
    await office.privacy.run_job("collect_exports")
    assert await stored(office) == []


async def test_a_copy_that_lost_its_row_before_it_was_written_is_found_within_the_hour(
    office: Any, others: Any, dies_after_put: None
) -> None:
    await ask(office.nora)
    ada = await ask(office.ada)
    others.meanwhile = lambda: erase_nora(office)
    await office.privacy.run_job("collect_exports")
    assert len(await stored(office)) == 2
    await office.privacy.run_job("delete_unnamed_exports")
    assert len(await stored(office)) == 1
    crash.arm("")
    await office.privacy.rows(DUE, office.tenant)
    await office.privacy.run_job("collect_exports")
    assert (await office.ada.get(f"{ada}/file")).status_code == 200, "what a row names stays"


async def test_a_missing_file_is_listed_and_the_copy_is_made(office: Any, others: Any) -> None:
    others.named, others.files = ["here", "lost"], {"here": b"\x89PNG"}
    url = await ask(office.ada)
    await office.privacy.run_job("collect_exports")
    content = (await office.ada.get(f"{url}/file")).content
    archive = zipfile.ZipFile(io.BytesIO(content))
    manifest = json.loads(archive.read("manifest.json"))
    assert "files/feed/here" in manifest["files"]
    assert "files/feed/lost" in manifest["missing"]
    assert "files/feed/lost" in archive.read("index.html").decode()
    assert "files/feed/lost" not in archive.namelist()


async def test_one_export_that_fails_keeps_nobody_waiting(office: Any, others: Any) -> None:
    neighbour = office.privacy.person(await office.privacy.tenant())
    others.unknown = {str(office.nora.account_id)}
    nora, ada, next_door = await ask(office.nora), await ask(office.ada), await ask(neighbour)
    await office.privacy.run_job("collect_exports")
    assert (await office.nora.get(nora)).json()["state"] == "waiting"
    assert (await office.ada.get(ada)).json()["state"] == "done"
    assert (await neighbour.get(next_door)).json()["state"] == "done"
    counted = "SELECT attempts FROM exports WHERE account_id = :id"
    assert [row.attempts for row in await office.privacy.rows(counted, office.tenant, id=office.nora.account_id)] == [1]


async def test_an_export_is_not_tried_again_before_its_time(office: Any, others: Any) -> None:
    others.are_away = True
    await ask(office.nora)
    await office.privacy.rows("UPDATE exports SET attempts = 8 RETURNING id", office.tenant)
    await office.privacy.run_job("collect_exports")
    others.are_away = False
    await ask(office.ada)
    await office.privacy.run_job("collect_exports")
    query = "SELECT state, attempts, due_at > now() + interval '5 minutes' AS rests FROM exports ORDER BY created_at"
    nora, ada = await office.privacy.rows(query, office.tenant)
    assert tuple(nora) == ("waiting", 9, True), "somebody else's export costs no attempt"
    assert ada.state == "done"


async def test_an_export_is_given_up_after_two_days(office: Any, others: Any) -> None:
    waited = sum((delay_after(attempts) for attempts in range(MAX_ATTEMPTS - 1)), timedelta())
    assert timedelta(days=2) < waited < timedelta(days=2, hours=6)
    assert delay_after(MAX_ATTEMPTS) == timedelta(hours=1)
    others.are_away = True
    url = await ask(office.ada)
    for attempts, state in ((MAX_ATTEMPTS - 2, "waiting"), (MAX_ATTEMPTS - 1, "failed")):
        await office.privacy.rows(
            f"UPDATE exports SET attempts = {attempts}, due_at = now() RETURNING id", office.tenant
        )
        await office.privacy.run_job("collect_exports")
        assert (await office.ada.get(url)).json()["state"] == state


def test_the_archive_reads_and_its_checksums_hold() -> None:
    row = {"body": "<b>mine</b>", "at": None}
    tables = {"posts": {"schema": {}, "rows": [row]}}
    collected = {"feed": {"tables": tables, "files": {"abc": b"\x89PNG"}, "missing": []}}
    archive = zipfile.ZipFile(io.BytesIO(build_archive(collected, "fr")))
    assert set(archive.namelist()) == {"SHA256SUMS", "feed.json", "files/feed/abc", "index.html", "manifest.json"}
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert "&lt;b&gt;mine" in archive.read("index.html").decode()
