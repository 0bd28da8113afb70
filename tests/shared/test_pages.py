"""Cursors: what a page returned is understood again; whatever else somebody sends is refused, never an error of ours."""

import base64
import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http import InvalidCursor, decode_cursor, encode_cursor


def written(content: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode().rstrip("=")


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.text(st.characters(codec="utf-8")))
def test_a_position_is_understood_again(at: datetime, id_: UUID, name: str) -> None:
    assert decode_cursor(encode_cursor(at, id_), datetime, UUID) == (at, id_)
    assert decode_cursor(encode_cursor(name, id_), str, UUID) == (name, id_)


def test_an_instant_is_read_in_any_zone() -> None:
    at = datetime(2026, 11, 30, 10, tzinfo=timezone(timedelta(hours=1)))
    assert decode_cursor(written([at.isoformat()]), datetime) == (datetime(2026, 11, 30, 9, tzinfo=UTC),)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "?",
        "é",
        written("text"),
        written([]),
        written(["2026-01-01T00:00:00Z", 5]),
        written(["2026-01-01T00:00:00Z", None]),
        written(["2026-01-01T00:00:00", "01890a5d-ac96-774b-bcce-b302099a8057"]),
        written(["0001-01-01T00:00:00+14:00", "01890a5d-ac96-774b-bcce-b302099a8057"]),
        written(["9999-12-31T23:59:59-14:00", "01890a5d-ac96-774b-bcce-b302099a8057"]),
        written(["2026-01-01T00:00:00Z", "01890a5d-ac96-774b-bcce-b302099a8057", 1]),
    ],
)
def test_what_no_page_returned_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(cursor, datetime, UUID)


@given(st.text(max_size=60))
def test_any_text_is_a_position_or_refused(cursor: str) -> None:
    with contextlib.suppress(InvalidCursor):
        decode_cursor(cursor, datetime, UUID)
