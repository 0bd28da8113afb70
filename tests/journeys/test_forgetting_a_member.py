"""Journey 1: a member with traces everywhere goes; every service forgets them, billing keeps what the law asks for."""

from typing import Any
from uuid import uuid4

import pytest

from tests.support.traces import Traces, everything_about, join_as, leave_traces

# Where the certificate says that something is retained; nowhere else may a value be found.
DECLARED = {"billing.documents", "billing.quotes"}


async def test_no_trace_of_a_forgotten_member_is_left(space: Any, places: Any, postbox: Any) -> None:
    traces = Traces()
    say = traces.values
    nora = await join_as(space, traces)
    omar = await space.join("Omar")
    left = await leave_traces(space, nora, omar, traces)
    await space.quiet()
    before = await places([*traces.all(), nora.account_id])
    assert all(before.values()), f"the positive control: {[v for v, found in before.items() if not found]}"
    assert any(mail["To"] == traces.email for mail in postbox.mails), "Nora got mail"
    others = await everything_about(space, omar)
    prints = {i["id"]: await printed(space, i) for i in left["invoices"]}

    certificate = await space.completed(await space.deactivate(nora))
    await space.quiet()
    assert {answer["service"] for answer in certificate["answers"]} == {
        "identity", "booking", "billing", "feed", "helpdesk", "notify", "privacy",
    }  # fmt: skip
    retained = {a["service"]: a["retained"] for a in certificate["answers"] if a["retained"]}
    assert list(retained) == ["billing"]
    assert {entry["rule"] for entry in retained["billing"]} == {"claims", "documents"}
    assert all(entry["until"] or entry["ground"] == "open_claim" for entry in retained["billing"])

    after = await places([*traces.all(), nora.account_id])
    declared = {say["Buyername"], say["Street"]}
    for value, found in after.items():
        assert found <= (DECLARED if value in declared else set()), f"{value} is still in {found}"
    assert after[say["Buyername"]] == {"billing.documents"}
    assert await everything_about(space, omar) == others
    assert {i["id"]: await printed(space, i) for i in left["invoices"]} == prints
    await thread_still_reads(space, omar, left)
    assert postbox.mails[-1]["To"] in (traces.email, space.alma.email, omar.email)


async def printed(space: Any, invoice: Any) -> bytes:
    content: bytes = await space.client.get_bytes(f"/billing/v1/documents/{invoice['id']}/pdf", by=space.alma)
    return content


async def thread_still_reads(space: Any, omar: Any, left: dict[str, Any]) -> None:
    thread = await space.client.call("GET", f"/feed/v1/posts/{left['thread']['id']}", by=omar)
    assert thread["mentions"]["0"] == {"id": None, "name": "former member"}
    assert "former member" in thread["html"]
    comments = await space.client.call("GET", f"/feed/v1/posts/{left['thread']['id']}/comments", by=omar)
    (comment,) = comments["data"]
    assert (comment["body"], comment["author"]["name"]) == (None, "former member")


async def test_a_stale_session_and_the_same_address_bring_nobody_back(space: Any, places: Any) -> None:
    nora = await space.join("Nora", last_name=f"Last{uuid4().hex[:8]}")
    last_name = (await space.client.call("GET", "/identity/v1/profile", by=nora))["last_name"]
    await space.completed(await space.deactivate(nora))
    for path in ("/identity/v1/profile", "/booking/v1/reservations", "/feed/v1/posts", "/notify/v1/notices"):
        with pytest.raises(RuntimeError, match=r"401|410"):
            await space.client.call("GET", path, by=nora)
    again = await space.join("Again", email=nora.email)
    assert again.account_id != nora.account_id
    assert (await places([last_name]))[last_name] == set()
