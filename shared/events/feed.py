"""Published by feed: that something was said and by whom, never what."""

from uuid import UUID

from shared.bus.contracts import AccountId, Event, event


@event("feed.post.published.v1", key="post_id")
class PostPublished(Event):
    post_id: UUID
    author_id: AccountId
    is_announcement: bool


@event("feed.comment.added.v1", key="post_id")
class CommentAdded(Event):
    comment_id: UUID
    post_id: UUID
    author_id: AccountId
    post_author_id: AccountId | None


@event("feed.member.mentioned.v1", key="post_id")
class MemberMentioned(Event):
    post_id: UUID
    comment_id: UUID | None
    author_id: AccountId
    mentioned_ids: list[AccountId]
