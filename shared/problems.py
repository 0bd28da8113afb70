"""Errors as RFC 9457 problem+json: a stable code, a title, a trace id, and never an echo of the input.

A domain error subclasses one of the statuses below; its class name is the code (`SlotTaken` → `slot_taken`) and
the first line of its docstring the title. Extra members are ids, numbers and instants only.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, NoResultFound
from starlette.exceptions import HTTPException

from shared.telemetry import current_trace_id

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"
# SQLSTATEs that a caller may simply try again: serialization failure, deadlock, lock timeout, too many connections.
TRY_AGAIN = {"40001", "40P01", "55P03", "53300", "57014"}


class Problem(Exception):
    """The request could not be served."""

    status: ClassVar[int] = 500
    retry_after_seconds: int | None = None

    def __init__(self, **members: Any) -> None:
        super().__init__(type(self).code())
        self.members = members

    @classmethod
    def code(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        return (cls.__doc__ or "").strip().splitlines()[0]


class BadRequest(Problem):
    """The request is malformed."""

    status = 400


class Unauthenticated(Problem):
    """Sign in first: there is no valid access token."""

    status = 401


class Forbidden(Problem):
    """You may not do this."""

    status = 403


class NotFound(Problem):
    """There is nothing here that you can see."""

    status = 404


class Conflict(Problem):
    """The request conflicts with the present state."""

    status = 409


class Gone(Problem):
    """This existed and is gone for good."""

    status = 410


class PreconditionFailed(Problem):
    """The item has changed since you read it: read it again and repeat."""

    status = 412


class TooLarge(Problem):
    """The body is larger than this endpoint accepts."""

    status = 413


class UnsupportedMediaType(Problem):
    """This kind of content is not accepted here."""

    status = 415


class Unprocessable(Problem):
    """The content is well formed but not acceptable."""

    status = 422


class PreconditionRequired(Problem):
    """Send If-Match with the ETag that you read."""

    status = 428


class TooManyRequests(Problem):
    """Too many attempts: wait before the next one."""

    status = 429


class Unavailable(Problem):
    """A part of the service is unavailable at the moment: try again shortly."""

    status = 503
    retry_after_seconds = 2


class BadGateway(Problem):
    """Another service did not answer: try again shortly."""

    status = 502
    retry_after_seconds = 2


class AccountErased(Gone):
    """This account was deactivated and its personal data is erased."""


# SQLSTATEs of our own: the guards of erased people's rows, and the check that stands at the head of every request.
REFUSALS: dict[str, type[Problem]] = {"CW410": AccountErased, "CW401": Unauthenticated}


def problem_response(problem: Problem, errors: Sequence[Mapping[str, str]] = ()) -> JSONResponse:
    """Return the problem+json answer; `errors` are `{pointer, code}` pairs of a rejected payload."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.code()}",
        "title": problem.title(),
        "status": problem.status,
        "code": problem.code(),
        "trace_id": current_trace_id(),
        **problem.members,
    }
    if errors:
        body["errors"] = list(errors)
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


class MalformedJson(BadRequest):
    """The body is not valid JSON."""


class InvalidPayload(Unprocessable):
    """Some fields are missing, unknown or not acceptable."""


# A character that PostgreSQL stores in no text (NUL), alone and within JSON.
REFUSALS |= dict.fromkeys(("22021", "22P05"), InvalidPayload)


class MethodNotAllowed(Problem):
    """This method is not offered here."""

    status = 405


_BY_STATUS: dict[int, type[Problem]] = {
    cls.status: cls
    for cls in (BadRequest, Unauthenticated, Forbidden, NotFound, MethodNotAllowed, TooLarge, UnsupportedMediaType)
}


def _pointer(location: Sequence[int | str]) -> str:
    """RFC 6901 pointer (body) or `query/name`. Names that the caller made up are not repeated."""
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in location)


async def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return problem_response(MalformedJson())
    errors = []
    for item in found:
        # An unknown field's name is the caller's own text: point at its parent instead of echoing it.
        location = item["loc"][:-1] if item["type"] == "extra_forbidden" else item["loc"]
        errors.append({"pointer": _pointer(location), "code": str(item["type"])})
    return problem_response(InvalidPayload(), errors[:50])


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    cls = _BY_STATUS.get(error.status_code, BadRequest if error.status_code < 500 else Unavailable)
    return problem_response(cls())


async def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem_response(error)


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a database error, or None."""
    original = getattr(error, "orig", error)
    return getattr(original, "sqlstate", None) or getattr(getattr(original, "__cause__", None), "sqlstate", None)


async def _database(_: Request, error: Exception) -> JSONResponse:
    state = sqlstate(error)
    if state in REFUSALS:
        return problem_response(REFUSALS[state]())
    if state in TRY_AGAIN or state is None or state.startswith(("08", "57P")):
        log.warning("database.unavailable", code=state)
        return problem_response(Unavailable())
    log.error("database.error", code=state, exc_info=error)
    return problem_response(Problem())


async def _nothing_there(_: Request, error: Exception) -> JSONResponse:
    """A genuine token may be younger than its account's erasure in this very service."""
    return problem_response(NotFound())


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    log.error("request.failed", exc_info=error)
    return problem_response(Problem())


def install(app: FastAPI) -> None:
    """Answer every error of `app` as problem+json."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(NoResultFound, _nothing_there)
    for unreachable in (ConnectionError, TimeoutError):
        app.add_exception_handler(unreachable, _database)
    app.add_exception_handler(Exception, _unexpected)


def declared(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route: its problems by status, for OpenAPI."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        entry = by_status.setdefault(
            problem.status,
            {"description": "", "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        )
        entry["description"] = " / ".join(filter(None, [entry["description"], f"{problem.code()}: {problem.title()}"]))
    return by_status
