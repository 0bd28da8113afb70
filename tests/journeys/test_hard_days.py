"""Journeys 2, 3 and 4: a whole space goes while a service dies; services that are down; money that is still owed."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.support.spaces import crowd

SERVICES = {"identity", "booking", "billing", "feed", "helpdesk", "notify", "privacy"}
CROWD = 1000


async def test_a_service_that_is_down_completes_the_erasure_when_it_is_back(space: Any, places: Any) -> None:
    word = f"Word{uuid4().hex[:8]}"
    nora = await space.join("Nora")
    await space.client.call("POST", "/feed/v1/posts", {"body": word}, by=nora)
    await space.quiet()
    await space.suite.kill_service("feed")
    case_id = await space.deactivate(nora)
    answered: set[str] = set()
    for _ in range(300):
        case = await space.case(case_id)
        answered = {a["service"] for a in case["answers"] if a["outcome"]} if case else set()
        if answered == SERVICES - {"feed"}:
            break
        await asyncio.sleep(0.1)
    assert answered == SERVICES - {"feed"}
    assert case["completed_at"] is None
    await space.suite.start_service("feed")
    await space.completed(case_id)
    assert (await places([word]))[word] == set()


async def test_duplicated_and_reordered_events_bring_nothing_back(space: Any, places: Any) -> None:
    word = f"Word{uuid4().hex[:8]}"
    nora = await space.join("Nora", last_name=word)
    await space.client.call("POST", "/feed/v1/posts", {"body": word}, by=nora)
    await space.completed(await space.deactivate(nora))
    await space.quiet()
    for service in SERVICES:
        # Everything that the logs still hold is sent again, the youngest first.
        await space.suite.query(
            service,
            "INSERT INTO outbox (position, key) SELECT position, key FROM event_log WHERE data IS NOT NULL"
            " ORDER BY position DESC ON CONFLICT DO NOTHING RETURNING position",
        )
    await space.quiet()
    found = await places([word, nora.account_id])
    assert found == {word: set(), nora.account_id: set()}


async def test_a_paid_reservation_is_credited_and_an_open_claim_is_kept(space: Any) -> None:
    client, nora = space.client, await space.join("Nora", last_name="Owes")
    room = await open_room(space)
    paid = await reserve(space, nora, room, days=7)
    invoice = (await invoices(space, 1))[0]
    pay = {"amount_minor": invoice["total_minor"], "method": "transfer", "received_on": "2026-11-24"}
    await client.call("POST", f"/billing/v1/documents/{invoice['id']}/payments", pay, by=space.alma)
    price = await client.call("POST", "/billing/v1/prices", {"name": "Locker", "price_minor": 900}, by=space.alma)
    await client.call("POST", "/billing/v1/orders", {"lines": [{"price_id": price["id"]}]}, by=nora)
    await invoices(space, 2)

    certificate = await space.completed(await space.deactivate(nora))
    (billing,) = [answer for answer in certificate["answers"] if answer["service"] == "billing"]
    grounds = {(entry["rule"], entry["ground"]): entry["until"] for entry in billing["retained"]}
    assert grounds[("claims", "open_claim")] is None, "kept until it is settled"
    notes = await documents(space, "credit_note", 1)
    assert (notes[0]["invoice_id"], notes[0]["total_minor"]) == (invoice["id"], invoice["total_minor"])
    assert notes[0]["buyer"] == invoice["buyer"]
    rows = await space.suite.query("booking", "SELECT * FROM reservations WHERE id = $1", UUID(paid["id"]))
    assert (rows[0]["state"], rows[0]["account_id"]) == ("cancelled", None)
    again = await reserve(space, await space.join("Omar"), room, days=7)
    assert again["state"] == "confirmed", "the slot is free"
    (claim,) = [d for d in await documents(space, "invoice", 3) if d["total_minor"] == 900]
    settle = {"amount_minor": 900, "method": "desk", "received_on": "2026-11-25"}
    await client.call("POST", f"/billing/v1/documents/{claim['id']}/payments", settle, by=space.alma)
    chain = await client.call("GET", "/billing/v1/chain", by=space.alma)
    assert chain["broken_at"] is None


async def open_room(space: Any) -> Any:
    place = {"name": "Valmy", "time_zone": "Europe/Paris"}
    location = await space.client.call("POST", "/booking/v1/locations", place, by=space.alma)
    room = {"location_id": location["id"], "name": "Loft", "kind": "room", "hourly_price_minor": 3000}
    return await space.client.call("POST", "/booking/v1/resources", room, by=space.alma)


async def reserve(space: Any, member: Any, room: Any, *, days: int) -> Any:
    starts_at = (datetime.now(UTC) + timedelta(days=days)).replace(hour=10, minute=0, second=0, microsecond=0)
    slot = {"resource_id": room["id"], "starts_at": starts_at.isoformat()}
    slot["ends_at"] = (starts_at + timedelta(hours=1)).isoformat()
    return await space.client.call("POST", "/booking/v1/reservations", slot, by=member)


async def invoices(space: Any, count: int) -> list[Any]:
    return await documents(space, "invoice", count)


async def documents(space: Any, kind: str, count: int) -> list[Any]:
    url = f"/billing/v1/documents?everybody=true&kind={kind}"
    for _ in range(200):
        page = await space.client.call("GET", url, by=space.alma)
        if len(page["data"]) >= count:
            return list(page["data"])
        await asyncio.sleep(0.1)
    raise AssertionError(f"{count} × {kind} expected, {len(page['data'])} found")


async def test_a_whole_space_goes_though_a_service_dies_and_another_stays(space: Any, open_another: Any) -> None:
    neighbour = await open_another()
    omar = await neighbour.join("Omar", last_name="Stays")
    await neighbour.client.call("POST", "/feed/v1/posts", {"body": "still here"}, by=omar)
    await crowd(space, CROWD)
    url = "/identity/v1/tenant/deactivation"
    answer = await space.client.call("PUT", url, {"confirmation": space.slug}, by=space.alma)
    await working_on(space, "feed")
    await space.suite.kill_service("feed")
    await asyncio.sleep(0.5)
    await space.suite.start_service("feed")
    certificate = await space.completed(answer["case_id"], seconds=90)
    accounts = {a["service"]: a["accounts"] for a in certificate["answers"]}
    assert accounts["feed"] == CROWD
    assert accounts["identity"] >= CROWD
    assert {a["outcome"] for a in certificate["answers"]} <= {"DONE", "RETAINED", "NOTHING_HELD"}
    left = "SELECT (SELECT count(*) FROM posts WHERE tenant_id = $1 AND body IS NOT NULL) AS n"
    assert (await space.suite.query("feed", left, space.tenant_id))[0]["n"] == 0
    gone = "SELECT count(*) AS n FROM accounts WHERE tenant_id = $1"
    assert (await space.suite.query("identity", gone, space.tenant_id))[0]["n"] == 0
    profile = await neighbour.client.call("GET", "/identity/v1/profile", by=omar)
    assert profile["last_name"] == "Stays"
    page = await neighbour.client.call("GET", "/feed/v1/posts", by=omar)
    assert [post["body"] for post in page["data"]] == ["still here"]


async def working_on(space: Any, service: str) -> None:
    for _ in range(400):
        query = "SELECT 1 FROM erasures WHERE tenant_id = $1 AND is_tenant"
        if await space.suite.query(service, query, space.tenant_id):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{service} has not begun")


ERASED = """
INSERT INTO erasures (case_id, tenant_id, account_id, is_tenant, content, outcome)
VALUES ($1, $2, $3, false, 'remove', 'DONE')
"""
ANSWERED = """
WITH opened AS (
 INSERT INTO cases (id, tenant_id, account_id, is_tenant, reason, state, commanded_at, due_on, escalated_days, version)
 VALUES ($1, $2, $3, false, 'own_request', 'verifying', now(), current_date + 30, 0, 1) RETURNING id, tenant_id)
INSERT INTO answers (case_id, tenant_id, service, outcome, counts, retained, accounts, remaining)
SELECT id, tenant_id, unnest($4::text[]), 'DONE', '[]', '[]', 1, 0 FROM opened
"""
ENTRIES = "SELECT count(*) FROM entries"


async def test_cases_are_verified_together_and_one_that_somebody_does_not_know_waits_alone(space: Any) -> None:
    """Every service has answered; of the first case, the feed has lost what it knew."""
    lost, single, *twins = (uuid4() for _ in range(4))
    accounts = dict.fromkeys(twins, uuid4()) | {lost: uuid4(), single: uuid4()}
    before = (await space.suite.query("ledger", ENTRIES))[0][0]
    for case_id, account_id in accounts.items():
        for service in SERVICES:
            if (service, case_id) != ("feed", lost):
                await space.suite.query(service, ERASED, case_id, space.tenant_id, account_id)
    for case_id in (lost, single, *twins):
        await space.suite.query("privacy", ANSWERED, case_id, space.tenant_id, accounts[case_id], list(SERVICES))
    for case_id in (single, *twins):
        await space.completed(str(case_id))
    assert (await space.suite.query("ledger", ENTRIES))[0][0] == before + 2, "one of each person"
    assert (await space.case(str(lost)))["state"] == "verifying"
    await space.suite.query("feed", ERASED, lost, space.tenant_id, accounts[lost])
    await space.completed(str(lost))


async def test_two_hundred_rivals_over_http_and_one_wins(space: Any) -> None:
    room = await open_room(space)
    members = [await space.join(f"Rival{n}") for n in range(4)]
    starts_at = (datetime.now(UTC) + timedelta(days=9)).replace(hour=10, minute=0, second=0, microsecond=0)
    body = {"resource_id": room["id"], "starts_at": starts_at.isoformat()}
    body["ends_at"] = (starts_at + timedelta(hours=1)).isoformat()

    async def rival(n: int) -> int:
        headers = {"Authorization": f"Bearer {members[n % 4].token}", "Idempotency-Key": f"rival-{n}"}
        url = space.client.url("/booking/v1/reservations")
        async with space.suite.http.post(url, json=body, headers=headers) as answer:
            await answer.read()
            return int(answer.status)

    answers = await asyncio.gather(*(rival(n) for n in range(200)))
    assert {status: answers.count(status) for status in set(answers)} == {201: 1, 409: 199}


async def test_who_leaves_the_directory_is_in_no_search_look_up_or_mention(space: Any) -> None:
    client = space.client
    omar, nora = await space.join("Omar"), await space.join("Nora", last_name="Hidden", skills=["Weaving"])
    found = await client.call("GET", "/identity/v1/members?query=Hidden", by=omar)
    assert [member["account_id"] for member in found["data"]] == [nora.account_id]
    profile = {"first_name": "Nora", "last_name": "Hidden", "skills": ["Weaving"], "language": "en"}
    await client.call("PUT", "/identity/v1/profile", {**profile, "in_directory": False}, by=nora, etag="*")
    for query in ("query=Hidden", "skill=Weaving", "query=Nora"):
        found = await client.call("GET", f"/identity/v1/members?{query}", by=omar)
        assert nora.account_id not in json.dumps(found)
    body = json.dumps({"body": "hi @{mention:0}", "mentions": [nora.account_id]})
    headers = {"Authorization": f"Bearer {omar.token}", "Content-Type": "application/json"}
    async with space.suite.http.post(client.url("/feed/v1/posts"), data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "mention_not_allowed")
    await client.call("POST", "/feed/v1/posts", {"body": "mine"}, by=nora)
    page = await client.call("GET", "/feed/v1/posts", by=omar)
    assert "Hidden" not in json.dumps(page)


async def test_a_copy_of_ones_data_holds_every_service_and_nobody_else(space: Any) -> None:
    import hashlib
    import io
    import zipfile

    client = space.client
    omar, nora = await space.join("Omar", last_name="Other"), await space.join("Nora", last_name="Copied")
    await client.call("POST", "/feed/v1/posts", {"body": "my words"}, by=nora)
    await client.call("POST", "/helpdesk/v1/tickets", {"subject": "Lamp", "body": "It flickers."}, by=nora)
    export = await client.call("POST", "/privacy/v1/exports", by=nora)
    for _ in range(200):
        export = await client.call("GET", f"/privacy/v1/exports/{export['id']}", by=nora)
        if export["state"] != "waiting":
            break
        await asyncio.sleep(0.1)
    assert (export["state"], export["done"]) == ("done", 7)
    content = await client.get_bytes(f"/privacy/v1/exports/{export['id']}/file", by=nora)
    archive = zipfile.ZipFile(io.BytesIO(content))
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    everything = b"".join(archive.read(name) for name in archive.namelist()).decode("latin-1")
    assert {f"{service}.json" for service in SERVICES} <= set(archive.namelist())
    for value in ("Copied", "my words", "It flickers.", nora.email):
        assert value in everything
    assert omar.account_id not in everything
