"""Publishing, reading, and a thread that stays readable when its author goes."""

import asyncio
from typing import Any

import pytest

from services.feed.actions import posts
from services.feed.markdown import to_html
from shared.db import uuid7
from shared.events.erasure import RECEIPTS
from shared.events.feed import CommentAdded, MemberMentioned, PostPublished
from shared.events.identity import AccountDeactivated, ContentChoice, DeactivationReason

ACCOUNT_ERASED, _, _ = RECEIPTS["feed"]


async def test_a_post_is_published_as_safe_html_and_its_event_says_no_word_of_it(square: Any) -> None:
    post = await square.post(square.ada, "**hi** <script>alert(1)</script> [x](javascript:alert(1))")
    assert "<strong>hi</strong>" in post["html"]
    assert "<script" not in post["html"]
    assert "javascript:" not in post["html"] or "href" not in post["html"]
    (event,) = await square.feed.published(PostPublished, square.tenant)
    assert (str(event.post_id), event.author_id) == (post["id"], square.ada.account_id)
    assert "hi" not in event.model_dump_json()
    assert post["author"]["name"] == "a member", "identity is down here"


@pytest.mark.parametrize(
    "hostile", ["<img src=x onerror=alert(1)>", "[a](data:text/html,x)", "<a href='javascript:x'>y</a>"]
)
def test_hostile_markdown_is_harmless(hostile: str) -> None:
    html = to_html(hostile, {})
    assert "<img" not in html
    assert 'href="data' not in html
    assert 'href="javascript' not in html


async def test_everybody_pages_through_the_feed_and_sees_each_post_once(square: Any) -> None:
    earlier = [(await square.post(square.ada, f"post {n}"))["id"] for n in range(25)]
    seen: list[str] = []
    cursor = None
    while True:
        page = (await square.ben.get("/posts", params={"limit": 5, **({"cursor": cursor} if cursor else {})})).json()
        seen += [one["id"] for one in page["data"]]
        await asyncio.gather(*(square.post(square.nora, "in between") for _ in range(40)))
        if (cursor := page["next_cursor"]) is None:
            break
    assert [one for one in seen if one in set(earlier)] == list(reversed(earlier))
    assert len(seen) == len(set(seen))


async def test_only_the_author_edits_and_two_edits_do_not_cross(square: Any) -> None:
    post = await square.post(square.ada, "frist")
    url = f"/posts/{post['id']}"
    assert (await square.ben.patch(url, {"body": "mine"}, etag=post["etag"])).status_code == 403
    assert (await square.ada.patch(url, {"body": "first"})).status_code == 428
    edited = await square.ada.patch(url, {"body": "first"}, etag=post["etag"])
    assert (edited.status_code, edited.json()["body"]) == (200, "first")
    assert (await square.ada.patch(url, {"body": "again"}, etag=post["etag"])).status_code == 412
    rows = await square.feed.rows("SELECT body FROM edits", square.tenant)
    assert [row.body for row in rows] == ["frist"]


async def test_a_deleted_post_is_unreadable_everywhere_at_once(square: Any) -> None:
    post = await square.post(square.ada, "regrettable words")
    assert (await square.ben.delete(f"/posts/{post['id']}", etag=post["etag"])).status_code == 403
    assert (await square.maud.delete(f"/posts/{post['id']}", etag=post["etag"])).status_code == 204
    assert (await square.ben.get(f"/posts/{post['id']}")).status_code == 404
    assert (await square.ben.get("/posts")).json()["data"] == []
    assert (await square.ben.get("/search", params={"q": "regrettable"})).json() == []
    rows = await square.feed.rows("SELECT body FROM posts", square.tenant)
    assert [row.body for row in rows] == [None]


async def test_search_knows_french_and_english_forms(square: Any) -> None:
    french = await square.post(square.ada, "Les imprimantes sont réparées")
    english = await square.post(square.ada, "The printers are repaired")
    found = await square.ben.get("/search", params={"q": "imprimante"})
    assert [one["id"] for one in found.json()] == [french["id"]]
    found = await square.ben.get("/search", params={"q": "repairing printer"})
    assert [one["id"] for one in found.json()] == [english["id"]]


async def test_comments_reply_one_level_and_stop_when_the_thread_is_locked(square: Any) -> None:
    post = await square.post(square.ada, "breakfast?")
    url = f"/posts/{post['id']}/comments"
    first = (await square.ben.post(url, {"body": "yes"})).json()
    reply = (await square.ada.post(url, {"body": "good", "reply_to_id": first["id"]})).json()
    deeper = (await square.ben.post(url, {"body": "!", "reply_to_id": reply["id"]})).json()
    assert deeper["reply_to_id"] == first["id"]
    assert len(await square.feed.published(CommentAdded, square.tenant)) == 3
    assert (await square.ben.put(f"/posts/{post['id']}/lock", {"on": True})).status_code == 403
    assert (await square.maud.put(f"/posts/{post['id']}/lock", {"on": True})).status_code == 204
    assert (await square.ben.post(url, {"body": "late"})).json()["code"] == "thread_locked"
    listed = (await square.nora.get(url)).json()["data"]
    assert [one["body"] for one in listed] == ["yes", "good", "!"]


async def test_a_reaction_counts_once_and_pins_have_their_own_list(square: Any) -> None:
    post = await square.post(square.ada, "news")
    for _ in range(2):
        assert (await square.ben.put(f"/posts/{post['id']}/reactions/like")).status_code == 204
    assert (await square.maud.put(f"/posts/{post['id']}/pin", {"on": True})).status_code == 204
    (pinned,) = (await square.nora.get("/posts", params={"pinned": True})).json()["data"]
    assert (pinned["counts"], pinned["is_pinned"]) == ({"like": 1}, True)
    await square.ben.delete(f"/posts/{post['id']}/reactions/like")
    assert (await square.nora.get(f"/posts/{post['id']}")).json()["counts"] == {}


async def test_a_mention_without_its_person_is_refused_and_announcements_are_for_staff(square: Any) -> None:
    missing = await square.ada.post("/posts", {"body": "hello @{mention:0}"})
    assert (missing.status_code, missing.json()["code"]) == (422, "mention_missing")
    unsure = await square.ada.post("/posts", {"body": "hello @{mention:0}", "mentions": [str(square.ben.account_id)]})
    assert unsure.status_code == 502, "nobody can say whether Ben may be mentioned"
    assert (await square.ada.post("/posts", {"body": "news", "is_announcement": True})).status_code == 403


async def test_another_space_sees_nothing(square: Any) -> None:
    post = await square.post(square.ada, "ours")
    stranger = square.feed.person(await square.feed.tenant())
    assert (await stranger.get(f"/posts/{post['id']}")).status_code == 404
    assert (await stranger.get("/posts")).json()["data"] == []


@pytest.mark.parametrize("content", list(ContentChoice))
async def test_a_thread_stays_readable_when_its_author_goes(square: Any, content: ContentChoice) -> None:
    post = await square.post(square.nora, "call me at +33 6 12 34 56 78")
    comments = f"/posts/{post['id']}/comments"
    await square.ada.post(comments, {"body": "will do"})
    await square.nora.post(comments, {"body": "thanks"})
    async with square.feed.database.transaction(square.tenant) as session:
        mention = {"body": "ask @{mention:0}", "mentioned": [square.nora.account_id], "is_announcement": False}
        await posts.publish_post(session, square.caller(square.ada), **mention)
    assert await square.feed.published(MemberMentioned, square.tenant)
    await square.nora.put(f"/posts/{post['id']}/reactions/like")
    event = AccountDeactivated(
        tenant_id=square.tenant,
        account_id=square.nora.account_id,
        case_id=uuid7(),
        reason=DeactivationReason.OWN_REQUEST,
        content=content,
    )
    await square.feed.receive(event)
    (receipt,) = await square.feed.published(ACCOUNT_ERASED, square.tenant)
    assert {entry.rule.split(".")[0] for entry in receipt.counts} >= {"posts", "comments", "mentions", "reactions"}
    thread = (await square.ada.get(f"/posts/{post['id']}")).json()
    kept = content is ContentChoice.KEEP
    assert thread["body"] == ("call me at •••" if kept else None)
    listed = (await square.ada.get(comments)).json()["data"]
    assert [one["body"] for one in listed] == ["will do", "thanks" if kept else None]
    everything = await square.feed.rows(
        "SELECT posts::text AS row FROM posts UNION ALL SELECT comments::text FROM comments"
        " UNION ALL SELECT mentions::text FROM mentions UNION ALL SELECT reactions::text FROM reactions",
        square.tenant,
    )
    assert str(square.nora.account_id) not in "".join(row.row for row in everything)
    assert "12 34 56" not in "".join(row.row for row in everything)
    authors = await square.feed.rows(
        "SELECT p.author_id = c.author_id AS same FROM posts p JOIN comments c ON c.thread_id = p.id"
        " WHERE c.body IS NULL OR c.body = 'thanks'",
        square.tenant,
    )
    assert [row.same for row in authors] == [True], "within a thread the former member is one and the same"
