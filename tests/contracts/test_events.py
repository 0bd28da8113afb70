"""Events carry no person's words, their schemas only grow, and what was once published always decodes."""

import enum
import json
import typing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from shared.bus.contracts import EVENTS, Envelope, Event, NotPersonalText, Undecodable
from shared.db import uuid7

GOLDEN = Path(__file__).parent / "golden"
PLAIN = (UUID, int, bool, date, datetime, type(None))


def is_plain(annotation: Any, metadata: list[Any]) -> bool:
    """Whether a field can hold ids, numbers, instants, enums and declared labels only."""
    if any(isinstance(item, NotPersonalText) for item in metadata):
        return True
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        return is_plain(inner, more)
    if arguments := typing.get_args(annotation):
        return all(is_plain(argument, []) for argument in arguments)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return all(is_plain(f.annotation, f.metadata) for f in annotation.model_fields.values())
    return isinstance(annotation, type) and issubclass(annotation, (*PLAIN, enum.Enum))


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_no_event_can_carry_a_persons_words(name: str) -> None:
    words = [field for field, info in EVENTS[name].model_fields.items() if not is_plain(info.annotation, info.metadata)]
    assert words == []


def test_the_check_itself_sees_free_text() -> None:
    class Gossip(Event):
        words: str

    assert not is_plain(Gossip.model_fields["words"].annotation, [])


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_schema_only_grows_by_optional_fields(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    schema = EVENTS[name].model_json_schema()
    assert set(golden["schema"]["properties"]) <= set(schema["properties"]), "a field was taken away"
    assert set(schema.get("required", [])) <= set(golden["schema"].get("required", [])), "a new field is mandatory"
    for field, definition in golden["schema"]["properties"].items():
        assert schema["properties"][field] == definition, f"{field} has changed"


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_what_was_once_published_still_decodes(name: str) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    tenant_id = UUID(golden["example"]["tenant_id"])
    known = {"id": uuid7(), "type": name, "tenant_id": tenant_id, "key": "k", "version": 1, "epoch": 0}
    envelope = Envelope(**known, time=datetime(2026, 1, 1, tzinfo=UTC), data={**golden["example"], "added_later": 1})
    assert Envelope.decode(envelope.encode()).event() == EVENTS[name].model_validate(golden["example"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"id": 1}',
        b"\xff\xfe",
        b"x" * 300_000,
        b'{"specversion": "1.0", "id": "x", "type": 7}',
    ],
)
def test_what_is_no_event_is_refused_without_an_echo(body: bytes) -> None:
    with pytest.raises(Undecodable) as caught:
        Envelope.decode(body)
    assert len(str(caught.value)) < 80


def test_an_unknown_version_is_undecodable() -> None:
    envelope = Envelope(uuid7(), "feed.post.published.v9", uuid7(), "k", 1, 0, datetime.now(UTC), {})
    with pytest.raises(Undecodable):
        Envelope.decode(envelope.encode()).event()
