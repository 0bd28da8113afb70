"""HTTP conventions: strict schemas, keyset pages, ETag and If-Match, security headers and golden signals."""

import base64
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Depends, Header, Query, Request, Response
from prometheus_client import Histogram
from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.problems import (
    MEDIA_TYPE,
    BadRequest,
    PreconditionFailed,
    PreconditionRequired,
    TooLarge,
    problem_response,
)
from shared.telemetry import REQUESTS, span

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MAX_BODY_BYTES = 1024 * 1024
PAGE_DEFAULT = 20
PAGE_MAX = 100

Item = TypeVar("Item")


class In(BaseModel):
    """What a request may carry: unknown fields are refused, text is trimmed."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)


class Out(BaseModel):
    """What a response carries; built from domain objects by attribute."""

    model_config = ConfigDict(from_attributes=True)


class ProblemOut(Out):
    """RFC 9457 problem."""

    type: str
    title: str
    status: int
    code: str
    trace_id: str | None = None
    errors: list[dict[str, str]] | None = None


class Page(Out, Generic[Item]):
    """One page of a list; `next_cursor` is None on the last."""

    data: list[Item]
    next_cursor: str | None = None


class InvalidCursor(BadRequest):
    """This cursor is not one that a page of this list returned."""


def encode_cursor(*values: Any) -> str:
    """Return the opaque cursor of a keyset position (the sort key's values of the last row shown)."""
    return base64.urlsafe_b64encode(orjson.dumps(list(values), default=str)).decode().rstrip("=")


def decode_cursor(cursor: str | None, *types: type) -> tuple[Any, ...] | None:
    """Return the position's values as `types`, or None for the first page. Raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        values = _position(types).validate_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return tuple(value.astimezone(UTC) if isinstance(value, datetime) else value for value in values)
    except (ValueError, OverflowError) as error:
        raise InvalidCursor from error


@lru_cache
def _position(types: tuple[type, ...]) -> TypeAdapter[tuple[Any, ...]]:
    kinds: Any = GenericAlias(tuple, tuple(AwareDatetime if kind is datetime else kind for kind in types))
    return TypeAdapter(kinds)


class PageQuery:
    """`?limit&cursor` of a list route."""

    def __init__(self, request: Request, response: Response, limit: int, cursor: str | None) -> None:
        self.limit = limit
        self.cursor = cursor
        self._request = request
        self._response = response

    def after(self, *types: type) -> tuple[Any, ...] | None:
        """The keyset position to continue after, or None. Raises InvalidCursor."""
        return decode_cursor(self.cursor, *types)

    def page(self, rows: Sequence[Any], position: Callable[[Any], tuple[Any, ...]]) -> tuple[Sequence[Any], str | None]:
        """Cut `rows` (queried with `limit + 1`) to the page; return them with the next cursor, and set Link."""
        if len(rows) <= self.limit:
            return rows, None
        shown = rows[: self.limit]
        following = encode_cursor(*position(shown[-1]))
        url = self._request.url.include_query_params(cursor=following)
        self._response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        return shown, following

    def answer(
        self,
        records: Sequence[Any],
        position: Callable[[Any], tuple[Any, ...]],
        show: Callable[[Any], dict[str, Any]] = dict,
    ) -> Response:
        """Return the page of database records, `show`n with the item's fields, written without a detour.

        For lists that are read often: the columns come from the schema (`columns_of`), so its validation adds nothing.
        """
        shown, following = self.page(records, position)
        body = {"data": [show(record) for record in shown], "next_cursor": following}
        content = orjson.dumps(body, default=str, option=orjson.OPT_UTC_Z)
        link = {"Link": self._response.headers["Link"]} if following else None
        return Response(content, media_type="application/json", headers=link)


def columns_of(schema: type[BaseModel]) -> str:
    """Return a SELECT list of exactly the fields that a schema shows."""
    return ", ".join(schema.model_fields)


async def _page_query(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> PageQuery:
    """A coroutine although it waits for nothing: a plain callable would cost a thread hop."""
    return PageQuery(request, response, limit, cursor)


Paging = Annotated[PageQuery, Depends(_page_query)]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=100, description="ETag of the version you read")]


def set_etag(response: Response, version: int) -> None:
    """Put the strong ETag of an item's `version` on the response."""
    response.headers["ETag"] = f'"{version}"'


def check_match(if_match: str | None, version: int) -> None:
    """Compare If-Match with the item's version. Raises PreconditionRequired (428) or PreconditionFailed (412)."""
    if if_match is None:
        raise PreconditionRequired
    if if_match != "*" and f'"{version}"' not in [tag.strip() for tag in if_match.split(",")]:
        raise PreconditionFailed


@lru_cache(maxsize=1024)
def _observer(service: str, route: str, method: str, status: int) -> Histogram:
    """Return the signal of these labels; finding it again costs more than observing. Methods of clients are theirs."""
    known = method if method in METHODS else "other"
    return REQUESTS.labels(service, route, known, str(status))


class Conventions:
    """ASGI middleware around every app: security headers, a span and the golden signals per request."""

    def __init__(self, app: ASGIApp, *, service: str) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        is_replaced = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_SECURITY_HEADERS]
                if status == 413 and (b"content-type", MEDIA_TYPE.encode()) not in message["headers"]:
                    # The framework's own body limit answers in plain text before any handler of ours.
                    is_replaced = True
                    await problem_response(TooLarge())(scope, receive, send)
                    return
            await send(message)

        parent = dict(scope["headers"]).get(b"traceparent")
        with span(f"{self._service} {scope['method']}", traceparent=parent.decode("latin-1") if parent else None):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                _observer(self._service, route, scope["method"], status).observe(time.perf_counter() - started)


_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
