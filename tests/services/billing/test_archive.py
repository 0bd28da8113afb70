"""The legal archive: whole, as it was issued, proving itself without us; begun again where it stopped, or refused."""

import csv
import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from deploy.archive import FolderRefused, find_tenant, hand_over
from services.billing.actions import quotes
from services.billing.chain import COVERED
from shared.db import utc_now, uuid7
from shared.events.identity import TenantDeactivated
from tests.support.commands import cowork

KEEPER = "Étude Martin, notaires"


async def traded(shop: Any, address: dict[str, str], *, invoices: int = 3) -> None:
    """Invoices, one of them credited in part, and a quote that was revised."""
    await shop.nora.put("/billing-address", address)
    first = await shop.invoice(shop.nora, quantity=3, price_minor=1234)
    for _ in range(invoices - 1):
        await shop.invoice(shop.ada)
    await shop.maud.post(f"/documents/{first.id}/credit-notes", {"amount_minor": 500, "reason": "goodwill"})
    line = {"text": "Desk, a year", "quantity": 12, "unit_minor": 20000, "vat_rate_bp": 2000}
    async with shop.billing.database.transaction(shop.tenant) as session:
        offer = {"issued_by": shop.maud.account_id, "currency": "EUR", "now": utc_now()}
        quote = await quotes.issue_quote(
            session, shop.ada.account_id, lines=[line], buyer_name="ada@example.org", **offer
        )
        await quotes.revise_quote(session, quote, lines=[{**line, "unit_minor": 18000}], valid_until=None, **offer)


async def archive(shop: Any, folder: Path, say: Any = lambda done, total: None) -> Any:
    tenant = await find_tenant(shop.billing.database, str(shop.tenant))
    return await hand_over(shop.billing.database, tenant, folder, keeper=KEEPER, now=utc_now(), say=say)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_intact(folder: Path) -> bool:
    """Check the archive as its keeper would."""
    return subprocess.call(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=folder) == 0


async def test_the_archive_holds_every_document_as_it_was_issued(
    shop: Any, address: dict[str, str], tmp_path: Path
) -> None:
    await traded(shop, address)
    folder = tmp_path / "archive"
    handed = await archive(shop, folder)
    assert (handed.documents, handed.quotes, handed.chain.broken_at) == (4, 2, None)
    records = {record["printed_number"]: record for record in lines_of(folder / "documents.jsonl")}
    for record in records.values():
        shown = await shop.maud.get(f"/documents/{record['id']}/pdf")
        assert (folder / record["file"]).read_bytes() == shown.content, "byte for byte what members are given"
    with (folder / "index.csv").open() as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    year = utc_now().year
    first = rows[f"INV-{year}-000001"]
    assert (first["kind"], first["net_minor"], first["vat_minor"], first["total_minor"]) == (
        "invoice", "3085", "617", "3702",
    )  # fmt: skip
    assert first["chain_hash"] == records[f"INV-{year}-000001"]["hash"]
    assert first["file"] == f"invoices/{year}/INV-{year}-000001.pdf"
    assert rows[f"CN-{year}-000001"]["total_minor"] == "500"
    assert {number for number in rows if number.startswith("QUO")} == {f"QUO-{year}-000001/{n}" for n in (1, 2)}
    assert [quote["total_minor"] for quote in lines_of(folder / "quotes.jsonl")] == [240000, 216000]
    assert records[f"INV-{year}-000001"]["buyer"]["name"] == "Nora Example"


async def test_the_archive_proves_itself_without_us(shop: Any, address: dict[str, str], tmp_path: Path) -> None:
    await traded(shop, address)
    folder = tmp_path / "archive"
    await archive(shop, folder)
    assert is_intact(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["keeper"], manifest["tenant_id"], manifest["is_active"]) == (KEEPER, str(shop.tenant), True)
    assert manifest["counts"] == {"documents": 4, "quotes": 2}
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert present == {entry["path"] for entry in manifest["files"]} | {"manifest.json", "SHA256SUMS"}
    for entry in manifest["files"]:
        content = (folder / entry["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    last: dict[str, str] = {}
    for record in lines_of(folder / "documents.jsonl"):
        assert record["previous_hash"] == last.get(record["kind"])
        last[record["kind"]] = chained(record)
        assert record["hash"] == last[record["kind"]]
    assert {kind: head["hash"] for kind, head in manifest["chain"]["heads"].items()} == last
    assert (manifest["chain"]["checked"], manifest["chain"]["broken_at"]) == (4, None)


def chained(record: dict[str, Any]) -> str:
    """The hash of a document, computed from the archive as its README says."""
    buyer = bytes.fromhex(record["salt"]) + orjson.dumps(record["buyer"], option=orjson.OPT_SORT_KEYS)
    assert hashlib.sha256(buyer).hexdigest() == record["buyer_digest"]
    covered = json.dumps(
        {name: record[name] for name in COVERED}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    previous = bytes.fromhex(record["previous_hash"] or "")
    return hashlib.sha256(previous + covered.encode() + bytes.fromhex(record["buyer_digest"])).hexdigest()


async def test_the_archive_is_its_owners_and_knows_no_account(
    shop: Any, address: dict[str, str], tmp_path: Path
) -> None:
    await traded(shop, address)
    folder = tmp_path / "archive"
    await archive(shop, folder)
    whole = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for person in (shop.nora, shop.ada, shop.maud):
        assert str(person.account_id).encode() not in whole
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}


async def test_an_interrupted_archive_goes_on_where_it_stopped(
    shop: Any, address: dict[str, str], tmp_path: Path
) -> None:
    await traded(shop, address, invoices=40)
    folder, said = tmp_path / "archive", list[tuple[int, int]]()

    def interrupt(done: int, total: int) -> None:
        said.append((done, total))
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await archive(shop, folder, interrupt)
    assert said == [(16, 41), (32, 41)]
    assert not (folder / "manifest.json").exists()
    kept, spoilt = sorted(folder.rglob("*.pdf"))[:2]
    before = kept.stat().st_mtime_ns
    spoilt.write_bytes(b"half a pri")
    with (folder / ".unfinished").open("a") as journal:
        journal.write("0123456789abc")
    handed = await archive(shop, folder)
    assert handed.documents == 41
    assert kept.stat().st_mtime_ns == before, "a print that is whole is not made again"
    assert is_intact(folder)
    fresh = tmp_path / "fresh"
    await archive(shop, fresh)
    assert spoilt.read_bytes() == (fresh / spoilt.relative_to(folder)).read_bytes()
    assert not (folder / ".unfinished").exists()


async def test_a_folder_of_something_else_is_refused_and_not_touched(
    shop: Any, address: dict[str, str], tmp_path: Path
) -> None:
    await traded(shop, address)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(FolderRefused):
        await archive(shop, full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / ".unfinished").write_text(f"{uuid7()}\n")
    with pytest.raises(FolderRefused):
        await archive(shop, begun)
    done = tmp_path / "done"
    await archive(shop, done)
    with pytest.raises(FolderRefused):
        await archive(shop, done)


async def test_the_archive_of_a_space_that_is_gone_is_still_whole(
    shop: Any, address: dict[str, str], tmp_path: Path
) -> None:
    await traded(shop, address)
    await archive(shop, tmp_path / "before")
    await shop.billing.receive(TenantDeactivated(tenant_id=shop.tenant, case_id=uuid7(), accounts=3))
    await shop.billing.run_job("erase_tenants")
    assert await shop.billing.rows("SELECT 1 FROM account_parties", shop.tenant) == []
    await archive(shop, tmp_path / "after")
    assert json.loads((tmp_path / "after" / "manifest.json").read_text())["is_active"] is False
    for name in ("documents.jsonl", "index.csv"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def export(shop: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "COWORK_DATA": "/nowhere",
        "COWORK_FILES_URL": "file:///nowhere",
        "COWORK_BILLING_DATABASE_URL": shop.billing.database.engine.url.render_as_string(hide_password=False),
        "COWORK_BILLING_CLIENT_SECRET": "x" * 32,
        "COWORK_BILLING_DIGEST_KEY": "x" * 32,
    }
    return cowork("archive", "export", *arguments, **environment)


async def test_the_command_says_how_far_it_is_and_exits_with_its_code(
    shop: Any, address: dict[str, str], tmp_path: Path
) -> None:
    await traded(shop, address)
    (slug,) = await shop.billing.rows("SELECT slug FROM tenants WHERE tenant_id = :t", t=shop.tenant)
    folder = str(tmp_path / "archive")
    done = export(shop, slug.slug, "--to", folder, "--keeper", KEEPER)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "4/4" in done.stderr
    assert "the hash chain of 4 documents is whole" in done.stderr
    assert "archive.exported" in done.stderr
    assert KEEPER not in done.stderr
    assert export(shop, slug.slug, "--to", folder, "--keeper", KEEPER).returncode == 1
    assert export(shop, str(uuid7()), "--to", folder, "--keeper", KEEPER).returncode == 4
    assert export(shop, slug.slug, "--to", folder, "--keeper", " ").returncode == 2
    assert export(shop, slug.slug, "--to", folder).returncode == 2


async def test_a_forged_document_is_handed_over_and_named(shop: Any, address: dict[str, str], tmp_path: Path) -> None:
    await traded(shop, address)
    connection = await asyncpg.connect(
        os.environ["COWORK_RUN_PG_URL"], database=shop.billing.database.engine.url.database
    )
    await connection.execute("ALTER TABLE documents DISABLE TRIGGER frozen")
    await connection.execute("UPDATE documents SET total_minor = 1 WHERE number = 2 AND tenant_id = $1", shop.tenant)
    await connection.execute("ALTER TABLE documents ENABLE TRIGGER frozen")
    await connection.close()
    done = export(shop, str(shop.tenant), "--to", str(tmp_path / "archive"), "--keeper", KEEPER)
    number = f"INV-{utc_now().year}-000002"
    assert done.returncode == 1
    assert number in done.stderr
    manifest = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    assert manifest["chain"]["broken_at"] == number
