"""Mentions: tokens in the text, people in a table of their own."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.feed.models import Mention
from shared.auth import Caller
from shared.bus import publish
from shared.db import tenant_of
from shared.events.feed import MemberMentioned


async def add_mentions(
    session: AsyncSession, caller: Caller, *, thread_id: UUID, comment_id: UUID | None, mentioned: Sequence[UUID]
) -> None:
    """Note whom a text mentions, in order, and publish it."""
    if not mentioned:
        return
    tenant_id = tenant_of(session)
    words_id = comment_id or thread_id
    rows = [
        {"tenant_id": tenant_id, "words_id": words_id, "n": n, "account_id": account_id}
        for n, account_id in enumerate(mentioned)
    ]
    await session.execute(insert(Mention), rows)
    event = MemberMentioned(
        tenant_id=tenant_id,
        post_id=thread_id,
        comment_id=comment_id,
        author_id=caller.account_id,
        mentioned_ids=sorted(set(mentioned)),
    )
    await publish(session, event)


async def mentions_in(session: AsyncSession, words_ids: Sequence[UUID]) -> dict[UUID, dict[int, UUID | None]]:
    """Return whom each text mentions, by number; None for somebody who is erased."""
    found: dict[UUID, dict[int, UUID | None]] = {one: {} for one in words_ids}
    rows = await session.execute(
        select(Mention.words_id, Mention.n, Mention.account_id).where(Mention.words_id.in_(words_ids))
    )
    for words_id, n, account_id in rows:
        found[words_id][n] = account_id
    return found
