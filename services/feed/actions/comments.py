"""Comments: one level of replies under a post."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from services.feed.actions.mentions import add_mentions
from services.feed.actions.posts import LOCK, get_post
from services.feed.errors import CommentNotFound, ThreadLocked
from services.feed.models import Comment
from shared.auth import Caller
from shared.bus import publish
from shared.db import tenant_of, uuid7
from shared.events.feed import CommentAdded


async def add_comment(
    session: AsyncSession,
    caller: Caller,
    post_id: UUID,
    *,
    body: str,
    reply_to_id: UUID | None,
    mentioned: Sequence[UUID],
) -> Comment:
    """Comment on a post, or reply to a comment (a reply to a reply joins its level). Raises ThreadLocked."""
    post = await get_post(session, post_id)
    if post.locked_at is not None and not caller.is_staff:
        raise ThreadLocked
    if reply_to_id is not None:
        parent = await get_comment(session, reply_to_id)
        if parent.thread_id != post_id:
            raise CommentNotFound
        reply_to_id = parent.reply_to_id or parent.id
    row = {
        "id": uuid7(),
        "tenant_id": tenant_of(session),
        "thread_id": post_id,
        "author_id": caller.account_id,
        "body": body,
        "reply_to_id": reply_to_id,
        "version": 1,
    }
    comment = (await session.execute(insert(Comment).values(row).returning(Comment))).scalar_one()
    event = CommentAdded(
        tenant_id=comment.tenant_id,
        comment_id=comment.id,
        post_id=post_id,
        author_id=caller.account_id,
        post_author_id=post.author_id,
    )
    await publish(session, event)
    await add_mentions(session, caller, thread_id=post_id, comment_id=comment.id, mentioned=mentioned)
    return comment


async def get_comment(session: AsyncSession, comment_id: UUID, *, lock: bool = False) -> Comment:
    """Return a comment, as it is until the transaction ends if locked. Raises CommentNotFound, also for a deleted one."""
    comment = await session.get(Comment, comment_id, with_for_update=LOCK if lock else None)
    if comment is None or comment.deleted_at is not None:
        raise CommentNotFound
    return comment


async def list_comments(
    session: AsyncSession, post_id: UUID, *, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Comment]:
    """Return up to `limit + 1` comments in order, deleted ones as empty places, after (created_at, id)."""
    await get_post(session, post_id)
    statement = select(Comment).where(Comment.thread_id == post_id).limit(limit + 1)
    if after is not None:
        statement = statement.where(tuple_(Comment.created_at, Comment.id) > after)
    return (await session.execute(statement.order_by(Comment.created_at, Comment.id))).scalars().all()
