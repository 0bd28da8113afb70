"""Posts, comments and what hangs on them. A post is its own thread: `thread_id` is what its comments share with it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Computed, Enum, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from shared.db import TYPES, TenantRow, service_metadata, uuid7
from shared.privacy.marks import Erase, Export, Row, no_subject, not_personal, person_ref, personal, subject

ORPHAN = "a thread stays readable without its author"
WORDS: dict[str, Any] = {"export": Export.PORTABLE, "purpose": "news feed", "basis": "contract", "keep": "account"}
SEARCHED = "to_tsvector('french', coalesce(body, '')) || to_tsvector('english', coalesce(body, ''))"


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class ReactionKind(StrEnum):
    LIKE = "like"
    THANKS = "thanks"
    CELEBRATE = "celebrate"
    CURIOUS = "curious"


class Words(TenantRow):
    """What a post and a comment have in common: an author, a text and its history."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    author_id: Mapped[UUID | None] = mapped_column(
        index=True, info=person_ref(erase=Erase.SURROGATE, scope="thread_id")
    )
    body: Mapped[str | None] = mapped_column(info=personal("content.text", erase=Erase.BY_CHOICE, **WORDS))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))
    edited_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    deleted_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    version: Mapped[int] = mapped_column(default=1, info=not_personal("version"))

    @declared_attr
    @classmethod
    def search(cls) -> Mapped[str]:
        mark = personal("content.text", erase=Erase.BY_CHOICE, **{**WORDS, "export": Export.NONE})
        return mapped_column(TSVECTOR, Computed(SEARCHED, persisted=True), info=mark)


class Post(Words, Base):
    __tablename__ = "posts"
    __table_args__ = (
        Index("ix_posts_list", "tenant_id", "created_at", "id"),
        Index("ix_posts_search", "search", postgresql_using="gin"),
        {"info": subject("author_id", row=Row.KEEP, orphan=ORPHAN)},
    )

    thread_id: Mapped[UUID] = mapped_column(info=not_personal("thread"))
    is_announcement: Mapped[bool] = mapped_column(default=False, info=not_personal("flag"))
    pinned_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))
    locked_at: Mapped[datetime | None] = mapped_column(info=not_personal("instant"))


class Comment(Words, Base):
    __tablename__ = "comments"
    __table_args__ = (
        Index("ix_comments_thread", "thread_id", "created_at", "id"),
        {"info": subject("author_id", row=Row.KEEP, orphan=ORPHAN)},
    )

    thread_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), info=not_personal("thread"))
    reply_to_id: Mapped[UUID | None] = mapped_column(ForeignKey("comments.id"), info=not_personal("comment"))


class Edit(TenantRow, Base):
    """What a text said before it was edited; only its author and the staff ever see it."""

    __tablename__ = "edits"
    __table_args__ = ({"info": subject("author_id", row=Row.DELETE)},)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    words_id: Mapped[UUID] = mapped_column(index=True, info=not_personal("post or comment"))
    author_id: Mapped[UUID] = mapped_column(index=True, info=person_ref(erase=Erase.DELETE_ROW))
    body: Mapped[str] = mapped_column(info=personal("content.text", erase=Erase.DELETE_ROW, **WORDS))
    edited_at: Mapped[datetime] = mapped_column(server_default=text("now()"), info=not_personal("instant"))


class Mention(TenantRow, Base):
    """Whom `@{mention:n}` of a text means; erasure empties the id and rewrites no text."""

    __tablename__ = "mentions"
    __table_args__ = ({"info": no_subject("mentions in other people's words")},)

    words_id: Mapped[UUID] = mapped_column(primary_key=True, info=not_personal("post or comment"))
    n: Mapped[int] = mapped_column(primary_key=True, info=not_personal("position in the text"))
    account_id: Mapped[UUID | None] = mapped_column(index=True, info=person_ref(erase=Erase.NULL))


class Reaction(TenantRow, Base):
    __tablename__ = "reactions"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE)},)

    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), primary_key=True, info=not_personal("post"))
    account_id: Mapped[UUID] = mapped_column(primary_key=True, index=True, info=person_ref(erase=Erase.DELETE_ROW))
    kind: Mapped[ReactionKind] = mapped_column(
        Enum(ReactionKind, native_enum=False, length=16, values_callable=lambda e: [m.value for m in e]),
        primary_key=True,
        info=personal("content.reaction", erase=Erase.DELETE_ROW, **WORDS),
    )
