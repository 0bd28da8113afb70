"""Posts: publish, read, edit, delete, pin, lock, react, search."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.feed.actions.mentions import add_mentions
from services.feed.errors import NotYours, PostNotFound
from services.feed.models import Comment, Edit, Post, Reaction, ReactionKind
from shared.auth import Caller
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.feed import PostPublished
from shared.http import check_match

# Writers of a text wait for each other; comments on it, which refer to its row, do not.
LOCK = {"key_share": True}


async def publish_post(
    session: AsyncSession, caller: Caller, *, body: str, mentioned: Sequence[UUID], is_announcement: bool
) -> Post:
    """Publish a post and tell those it mentions."""
    post_id = uuid7()
    row = {
        "id": post_id,
        "thread_id": post_id,
        "tenant_id": tenant_of(session),
        "author_id": caller.account_id,
        "body": body,
        "is_announcement": is_announcement,
        "version": 1,
    }
    post = (await session.execute(insert(Post).values(row).returning(Post))).scalar_one()
    event = PostPublished(
        tenant_id=post.tenant_id, post_id=post.id, author_id=caller.account_id, is_announcement=is_announcement
    )
    await publish(session, event, version=1)
    await add_mentions(session, caller, thread_id=post.id, comment_id=None, mentioned=mentioned)
    return post


async def get_post(session: AsyncSession, post_id: UUID, *, lock: bool = False) -> Post:
    """Return a post, as it is until the transaction ends if locked. Raises PostNotFound, also for a deleted one."""
    post = await session.get(Post, post_id, with_for_update=LOCK if lock else None)
    if post is None or post.deleted_at is not None:
        raise PostNotFound
    return post


async def list_posts(
    session: AsyncSession, *, pinned: bool, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Post]:
    """Return up to `limit + 1` posts, newest first, after a keyset position (created_at, id).

    Pins have their own list, so that pinning moves nothing while somebody pages.
    """
    statement = select(Post).where(Post.deleted_at.is_(None)).limit(limit + 1)
    if pinned:
        statement = statement.where(Post.pinned_at.is_not(None))
    if after is not None:
        # Compared as a row: with OR, the index would be walked from the newest post to this one.
        statement = statement.where(tuple_(Post.created_at, Post.id) < after)
    return (await session.execute(statement.order_by(Post.created_at.desc(), Post.id.desc()))).scalars().all()


async def search_posts(session: AsyncSession, words: str, *, limit: int) -> Sequence[Post]:
    """Return the best matches of a French or English query (`websearch` syntax)."""
    query = func.websearch_to_tsquery(text("'french'"), words).op("||")(
        func.websearch_to_tsquery(text("'english'"), words)
    )
    found = select(Post).where(Post.deleted_at.is_(None), Post.search.op("@@")(query))
    ranked = found.order_by(func.ts_rank(Post.search, query).desc(), Post.id.desc()).limit(limit)
    return (await session.execute(ranked)).scalars().all()


async def edit_words(
    session: AsyncSession, caller: Caller, words: Post | Comment, *, body: str, if_match: str | None, now: datetime
) -> None:
    """Replace the text of one's own post or comment (locked), keeping what it said before. Raises NotYours."""
    if words.author_id != caller.account_id:
        raise NotYours
    check_match(if_match, words.version)
    if words.body is not None:
        former = Edit(tenant_id=words.tenant_id, words_id=words.id, author_id=caller.account_id, body=words.body)
        session.add(former)
    words.body = body
    words.edited_at = now
    words.version += 1
    await session.flush()


async def delete_words(
    session: AsyncSession, caller: Caller, words: Post | Comment, *, if_match: str | None, now: datetime
) -> None:
    """Delete a text (locked) at once and for good; its place in the thread stays. Authors their own, staff any."""
    if words.author_id != caller.account_id and not caller.is_staff:
        raise NotYours
    check_match(if_match, words.version)
    await session.execute(delete(Edit).where(Edit.words_id == words.id))
    words.body = None
    words.deleted_at = now
    words.version += 1
    await session.flush()


async def react(session: AsyncSession, caller: Caller, post_id: UUID, kind: ReactionKind) -> None:
    """One reaction of a kind per person; repeating it changes nothing."""
    await get_post(session, post_id)
    row = {"tenant_id": tenant_of(session), "post_id": post_id, "account_id": caller.account_id, "kind": kind}
    await session.execute(upsert(Reaction).values(row).on_conflict_do_nothing())


async def withdraw_reaction(session: AsyncSession, caller: Caller, post_id: UUID, kind: ReactionKind) -> None:
    mine = (Reaction.post_id == post_id, Reaction.account_id == caller.account_id, Reaction.kind == kind)
    await session.execute(delete(Reaction).where(*mine))


async def count_around(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    """Return comments and reactions by kind per post, with two statements for a whole page."""
    counts: dict[UUID, dict[str, int]] = {one: {} for one in ids}
    comments = select(Comment.thread_id, func.count()).where(Comment.thread_id.in_(ids), Comment.deleted_at.is_(None))
    for thread_id, count in await session.execute(comments.group_by(Comment.thread_id)):
        counts[thread_id]["comments"] = count
    reactions = select(Reaction.post_id, Reaction.kind, func.count()).where(Reaction.post_id.in_(ids))
    for post_id, kind, count in await session.execute(reactions.group_by(Reaction.post_id, Reaction.kind)):
        counts[post_id][kind] = count
    return counts
