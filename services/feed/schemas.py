"""What the feed accepts and returns. Texts are Markdown in, safe HTML out."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from shared.http import In, Out
from shared.people import PersonOut

Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
Mentions = Annotated[list[UUID], Field(max_length=50, description="whom @{mention:0}, @{mention:1} … mean, in order")]


class PostIn(In):
    model_config = ConfigDict(
        json_schema_extra={"example": {"body": "**Breakfast** on Friday, @{mention:0}!", "mentions": []}}
    )

    body: Text
    mentions: Mentions = []
    is_announcement: bool = False


class CommentIn(In):
    model_config = ConfigDict(json_schema_extra={"example": {"body": "I'll bring croissants"}})

    body: Text
    mentions: Mentions = []
    reply_to_id: UUID | None = None


class EditIn(In):
    body: Text


class FlagIn(In):
    on: bool


class WordsOut(Out):
    id: UUID
    author: PersonOut
    is_own: bool
    body: str | None = Field(description="Markdown; None when it was deleted or its author chose to take it along")
    html: str | None
    mentions: dict[int, PersonOut]
    created_at: datetime
    edited_at: datetime | None
    is_deleted: bool


class PostOut(WordsOut):
    is_announcement: bool
    is_pinned: bool
    is_locked: bool
    counts: dict[str, int]


class CommentOut(WordsOut):
    post_id: UUID
    reply_to_id: UUID | None
