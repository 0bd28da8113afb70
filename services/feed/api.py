"""HTTP in: the news feed of the space."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.feed.actions import comments, posts
from services.feed.actions.mentions import mentions_in
from services.feed.errors import (
    CommentNotFound,
    MentionMissing,
    MentionNotAllowed,
    NotYours,
    PostNotFound,
    ThreadLocked,
)
from services.feed.markdown import mention_numbers, to_html
from services.feed.models import Comment, Post, ReactionKind
from services.feed.schemas import CommentIn, CommentOut, EditIn, FlagIn, PostIn, PostOut
from shared.auth import Caller, CurrentCaller, RoleRequired, Session, caller_session, requires
from shared.db import utc_now
from shared.events.identity import Role
from shared.http import IfMatch, Page, Paging, set_etag
from shared.people import find_mentionable, find_people, language_of
from shared.problems import PreconditionFailed, PreconditionRequired, declared

router = APIRouter(tags=["feed"])
STAFF = [requires(Role.MANAGER, Role.ADMIN)]
MATCH = (PreconditionFailed, PreconditionRequired)
MENTIONS = (MentionNotAllowed, MentionMissing)


@router.get("/posts", summary="The feed, newest first")
async def list_posts(request: Request, caller: CurrentCaller, paging: Paging, pinned: bool = False) -> Page[PostOut]:
    async with caller_session(request, caller) as session:
        rows = await posts.list_posts(session, pinned=pinned, after=paging.after(datetime, UUID), limit=paging.limit)
        shown, following = paging.page(rows, lambda row: (row.created_at, row.id))
        context = await _context(session, shown)
    return Page(data=await _show(request, caller, shown, *context), next_cursor=following)


@router.post("/posts", status_code=201, summary="Publish a post", responses=declared(*MENTIONS, RoleRequired))
async def publish_post(request: Request, body: PostIn, caller: CurrentCaller, response: Response) -> PostOut:
    if body.is_announcement and not caller.is_staff:
        raise RoleRequired
    await _check_mentions(request, caller, body.body, body.mentions)
    async with caller_session(request, caller) as session:
        post = await posts.publish_post(
            session, caller, body=body.body, mentioned=body.mentions, is_announcement=body.is_announcement
        )
        context = await _context(session, [post])
    set_etag(response, post.version)
    (shown,) = await _show(request, caller, [post], *context)
    return shown


@router.get("/search", summary="Find posts by their words, French or English")
async def search(
    request: Request, caller: CurrentCaller, q: Annotated[str, Query(min_length=1, max_length=200)], limit: int = 20
) -> list[PostOut]:
    async with caller_session(request, caller) as session:
        found = await posts.search_posts(session, q, limit=max(1, min(limit, 100)))
        context = await _context(session, found)
    return await _show(request, caller, found, *context)


@router.get("/posts/{post_id}", summary="One post", responses=declared(PostNotFound))
async def get_post(request: Request, post_id: UUID, caller: CurrentCaller, response: Response) -> PostOut:
    async with caller_session(request, caller) as session:
        post = await posts.get_post(session, post_id)
        context = await _context(session, [post])
    set_etag(response, post.version)
    (shown,) = await _show(request, caller, [post], *context)
    return shown


@router.patch("/posts/{post_id}", summary="Edit your post", responses=declared(PostNotFound, NotYours, *MATCH))
async def edit_post(
    request: Request, post_id: UUID, body: EditIn, caller: CurrentCaller, response: Response, if_match: IfMatch = None
) -> PostOut:
    async with caller_session(request, caller) as session:
        post = await posts.get_post(session, post_id, lock=True)
        await posts.edit_words(session, caller, post, body=body.body, if_match=if_match, now=utc_now())
        context = await _context(session, [post])
    set_etag(response, post.version)
    (shown,) = await _show(request, caller, [post], *context)
    return shown


@router.delete(
    "/posts/{post_id}", status_code=204, summary="Delete a post", responses=declared(PostNotFound, NotYours, *MATCH)
)
async def delete_post(post_id: UUID, caller: CurrentCaller, session: Session, if_match: IfMatch = None) -> None:
    post = await posts.get_post(session, post_id, lock=True)
    await posts.delete_words(session, caller, post, if_match=if_match, now=utc_now())


@router.put(
    "/posts/{post_id}/pin",
    status_code=204,
    dependencies=STAFF,
    summary="Pin or unpin",
    responses=declared(PostNotFound, RoleRequired),
)
async def pin(post_id: UUID, body: FlagIn, session: Session) -> None:
    post = await posts.get_post(session, post_id)
    post.pinned_at = utc_now() if body.on else None


@router.put(
    "/posts/{post_id}/lock",
    status_code=204,
    dependencies=STAFF,
    summary="Close or reopen for comments",
    responses=declared(PostNotFound, RoleRequired),
)
async def lock(post_id: UUID, body: FlagIn, session: Session) -> None:
    post = await posts.get_post(session, post_id)
    post.locked_at = utc_now() if body.on else None


@router.put("/posts/{post_id}/reactions/{kind}", status_code=204, summary="React", responses=declared(PostNotFound))
async def react(post_id: UUID, kind: ReactionKind, caller: CurrentCaller, session: Session) -> None:
    await posts.react(session, caller, post_id, kind)


@router.delete("/posts/{post_id}/reactions/{kind}", status_code=204, summary="Withdraw a reaction")
async def withdraw_reaction(post_id: UUID, kind: ReactionKind, caller: CurrentCaller, session: Session) -> None:
    await posts.withdraw_reaction(session, caller, post_id, kind)


@router.get("/posts/{post_id}/comments", summary="A post's comments in order", responses=declared(PostNotFound))
async def list_comments(request: Request, post_id: UUID, caller: CurrentCaller, paging: Paging) -> Page[CommentOut]:
    async with caller_session(request, caller) as session:
        rows = await comments.list_comments(session, post_id, after=paging.after(datetime, UUID), limit=paging.limit)
        shown, following = paging.page(rows, lambda row: (row.created_at, row.id))
        mentioned = await mentions_in(session, [one.id for one in shown])
    return Page(data=await _show_comments(request, caller, shown, mentioned), next_cursor=following)


@router.post(
    "/posts/{post_id}/comments",
    status_code=201,
    summary="Comment on a post",
    responses=declared(PostNotFound, CommentNotFound, ThreadLocked, *MENTIONS),
)
async def add_comment(
    request: Request, post_id: UUID, body: CommentIn, caller: CurrentCaller, response: Response
) -> CommentOut:
    await _check_mentions(request, caller, body.body, body.mentions)
    async with caller_session(request, caller) as session:
        comment = await comments.add_comment(
            session, caller, post_id, body=body.body, reply_to_id=body.reply_to_id, mentioned=body.mentions
        )
        mentioned = await mentions_in(session, [comment.id])
    set_etag(response, comment.version)
    (shown,) = await _show_comments(request, caller, [comment], mentioned)
    return shown


@router.patch(
    "/comments/{comment_id}", summary="Edit your comment", responses=declared(CommentNotFound, NotYours, *MATCH)
)
async def edit_comment(
    request: Request,
    comment_id: UUID,
    body: EditIn,
    caller: CurrentCaller,
    response: Response,
    if_match: IfMatch = None,
) -> CommentOut:
    async with caller_session(request, caller) as session:
        comment = await comments.get_comment(session, comment_id, lock=True)
        await posts.edit_words(session, caller, comment, body=body.body, if_match=if_match, now=utc_now())
        mentioned = await mentions_in(session, [comment.id])
    set_etag(response, comment.version)
    (shown,) = await _show_comments(request, caller, [comment], mentioned)
    return shown


@router.delete(
    "/comments/{comment_id}",
    status_code=204,
    summary="Delete a comment",
    responses=declared(CommentNotFound, NotYours, *MATCH),
)
async def delete_comment(comment_id: UUID, caller: CurrentCaller, session: Session, if_match: IfMatch = None) -> None:
    comment = await comments.get_comment(session, comment_id, lock=True)
    await posts.delete_words(session, caller, comment, if_match=if_match, now=utc_now())


async def _check_mentions(request: Request, caller: Caller, body: str, mentioned: list[UUID]) -> None:
    if mention_numbers(body) - set(range(len(mentioned))):
        raise MentionMissing
    if mentioned:
        allowed = await find_mentionable(request.app.state.service.internal, caller.tenant_id, mentioned)
        if set(mentioned) - allowed:
            raise MentionNotAllowed


Counts = dict[UUID, dict[str, int]]
Mentioned = dict[UUID, dict[int, UUID | None]]


async def _context(session: Session, shown: Sequence[Post]) -> tuple[Counts, Mentioned]:
    ids = [post.id for post in shown]
    return await posts.count_around(session, ids), await mentions_in(session, ids)


async def _show(
    request: Request, caller: Caller, shown: Sequence[Post], counts: Counts, mentioned: Mentioned
) -> list[PostOut]:
    return [
        PostOut(
            **words,
            is_announcement=post.is_announcement,
            is_pinned=post.pinned_at is not None,
            is_locked=post.locked_at is not None,
            counts=counts[post.id],
        )
        for post, words in zip(shown, await _words(request, caller, shown, mentioned), strict=True)
    ]


async def _show_comments(
    request: Request, caller: Caller, shown: Sequence[Comment], mentioned: Mentioned
) -> list[CommentOut]:
    return [
        CommentOut(**words, post_id=comment.thread_id, reply_to_id=comment.reply_to_id)
        for comment, words in zip(shown, await _words(request, caller, shown, mentioned), strict=True)
    ]


async def _words(
    request: Request, caller: Caller, shown: Sequence[Post | Comment], mentioned: Mentioned
) -> list[dict[str, Any]]:
    """What a post and a comment show alike, names resolved in one call for the whole page."""
    accounts = {one.author_id for one in shown} | {a for people in mentioned.values() for a in people.values()}
    people = await find_people(request.app.state.service.internal, caller.tenant_id, accounts, language_of(request))
    rendered = []
    for one in shown:
        named = {n: people[account] for n, account in mentioned[one.id].items()}
        body = one.body if one.deleted_at is None else None
        html = None if body is None else to_html(body, {n: person.name for n, person in named.items()})
        rendered.append(
            {
                "id": one.id,
                "author": people[one.author_id],
                "is_own": one.author_id == caller.account_id,
                "body": body,
                "html": html,
                "mentions": named,
                "created_at": one.created_at,
                "edited_at": one.edited_at,
                "is_deleted": body is None,
            }
        )
    return rendered
