"""Of two who change the same words at once, one is told to read again; what is deleted stays deleted."""

import asyncio
import importlib
from typing import Any

import pytest
from sqlalchemy import text

DELETED = "UPDATE {table} SET body = NULL, deleted_at = now(), version = version + 1 WHERE id = :id"
EDITED = "UPDATE {table} SET body = 'second thoughts', edited_at = now(), version = version + 1 WHERE id = :id"


async def words(square: Any, table: str) -> tuple[str, str]:
    """Return the address and the id of a text by Ada."""
    post = await square.post(square.ada, "regrettable words")
    if table == "posts":
        return f"/posts/{post['id']}", post["id"]
    comment = (await square.ada.post(f"/posts/{post['id']}/comments", {"body": "regrettable words"})).json()
    return f"/comments/{comment['id']}", comment["id"]


@pytest.mark.parametrize("table", ["posts", "comments"])
@pytest.mark.parametrize(
    ("rival", "method", "status", "left"),
    [
        (DELETED, "PATCH", 404, None),
        (EDITED, "PATCH", 412, "second thoughts"),
        (EDITED, "DELETE", 412, "second thoughts"),
    ],
)
async def test_whoever_comes_second_changes_nothing(
    square: Any, table: str, rival: str, method: str, status: int, left: str | None
) -> None:
    url, words_id = await words(square, table)
    async with square.feed.database.transaction(square.tenant) as session:
        await session.execute(text(rival.format(table=table)), {"id": words_id})
        body = {"json": {"body": "it was different"}} if method == "PATCH" else {}
        second = asyncio.create_task(square.ada.request(method, url, headers={"If-Match": '"1"'}, **body))
        await square.until_one_waits()
    assert (await second).status_code == status
    rows = await square.feed.rows(f"SELECT body FROM {table} WHERE id = :id", square.tenant, id=words_id)
    assert [row.body for row in rows] == [left]
    assert await square.feed.rows("SELECT 1 FROM edits WHERE words_id = :id", square.tenant, id=words_id) == []


async def test_a_comment_does_not_wait_for_an_edit_of_its_post(square: Any) -> None:
    url, post_id = await words(square, "posts")
    async with square.feed.database.transaction(square.tenant) as session:
        await session.execute(text(EDITED.format(table="posts")), {"id": post_id})
        assert (await square.ben.post(f"{url}/comments", {"body": "me too"})).status_code == 201


async def test_deleted_words_are_never_shown_whatever_their_row_says(square: Any) -> None:
    url, comment_id = await words(square, "comments")
    refilled = "UPDATE comments SET deleted_at = now() WHERE id = :id RETURNING thread_id"
    (row,) = await square.feed.rows(refilled, square.tenant, id=comment_id)
    (shown,) = (await square.ben.get(f"/posts/{row.thread_id}/comments")).json()["data"]
    assert (shown["body"], shown["html"], shown["is_deleted"]) == (None, None, True)
    assert (await square.ada.patch(url, {"body": "again"}, etag='"1"')).status_code == 404


async def test_the_migration_empties_what_was_filled_again(square: Any) -> None:
    _, words_id = await words(square, "posts")
    await square.ada.patch(f"/posts/{words_id}", {"body": "still there"}, etag='"1"')
    await square.feed.rows("UPDATE posts SET deleted_at = now() WHERE id = :id RETURNING 1", square.tenant, id=words_id)
    async with square.feed.database.transaction(square.tenant) as session:
        for repair in importlib.import_module("services.feed.migrations.20261130_empty_deleted_words").REPAIRS:
            await session.execute(text(repair))
    left = "SELECT body FROM posts WHERE body IS NOT NULL UNION ALL SELECT body FROM edits"
    assert await square.feed.rows(left, square.tenant) == []
