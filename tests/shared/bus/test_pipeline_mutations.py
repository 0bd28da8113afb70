"""The state machine finds a broken rule: each test breaks one in the real code and expects a counterexample."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, Verbosity
from hypothesis.errors import Flaky
from sqlalchemy import text

from shared.bus import Envelope, Event, inbox, publish
from shared.bus.inbox import Inbox, Outcome
from shared.bus.lanes import Lanes
from shared.bus.transport import Delivery
from tests.shared.bus import pipeline as pipelines
from tests.shared.bus.broker import Wire
from tests.shared.bus.pipeline import TENANT, Pipeline
from tests.shared.bus.play import play, profile

# It ends with the first breach; real time makes the number of examples until then vary.
HUNT = profile(400, 40, phases=[Phase.generate], verbosity=Verbosity.quiet, report_multiple_bugs=False)
SEED = 7


def expect(pipeline: Pipeline, counterexample: str) -> None:
    """Play until the invariant is seen broken; whether a repetition sees it again is a matter of timing (Flaky)."""
    with pytest.raises((AssertionError, Flaky)):
        play(pipeline, HUNT, seed_of_run=SEED)
    assert any(re.search(counterexample, one) for one in pipeline.breaches), pipeline.breaches


def test_an_inbox_that_forgets_what_it_handled_applies_twice(pipeline: Pipeline, monkeypatch: Any) -> None:
    always_fresh = inbox._OPEN.replace("EXISTS (SELECT FROM fresh)", "true")
    monkeypatch.setattr(inbox, "_OPEN", always_fresh)
    expect(pipeline, "I3")


def test_a_parked_event_that_does_not_block_its_key_is_overtaken(pipeline: Pipeline, monkeypatch: Any) -> None:
    never_blocked = inbox._OPEN.replace("FROM inbox_parked WHERE", "FROM inbox_parked WHERE event_id = $1 AND")
    monkeypatch.setattr(inbox, "_OPEN", never_blocked)
    expect(pipeline, "I4")


def test_lanes_that_do_not_hold_a_key_let_events_overtake(pipeline: Pipeline, monkeypatch: Any) -> None:
    def deliver(lanes: Lanes, delivery: Delivery) -> None:
        lanes._start(lanes._settle(Envelope.decode(delivery.body), delivery))

    monkeypatch.setattr(Lanes, "deliver", deliver)
    expect(pipeline, "I4")


def test_pointers_deleted_before_the_confirm_lose_events(pipeline: Pipeline, monkeypatch: Any) -> None:
    whole = Wire.publish

    async def strike_out_first(wire: Wire, envelopes: Sequence[Envelope]) -> list[bool]:
        struck = "DELETE FROM outbox USING event_log l WHERE l.position = outbox.position AND l.event_id = ANY(:ids)"
        async with pipeline.feed.transaction() as session:
            await session.execute(text(struck), {"ids": [envelope.id for envelope in envelopes]})
        return await whole(wire, envelopes)

    monkeypatch.setattr(Wire, "publish", strike_out_first)
    expect(pipeline, "I1")


def test_an_acknowledgement_before_the_commit_loses_events(pipeline: Pipeline, monkeypatch: Any) -> None:
    whole = Inbox.handle

    async def acknowledge_first(inbox: Inbox, envelope: Envelope, delivery: Delivery, **options: Any) -> Outcome:
        await delivery.acknowledge()
        return await whole(inbox, envelope, delivery, **options)

    monkeypatch.setattr(Inbox, "handle", acknowledge_first)
    expect(pipeline, "I1")


def test_a_lane_that_drops_what_keeps_failing_loses_events(pipeline: Pipeline, monkeypatch: Any) -> None:
    async def drop(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Lanes, "_park", drop)
    expect(pipeline, "I1|I4")


def test_events_written_beside_the_transaction_become_ghosts(pipeline: Pipeline, monkeypatch: Any) -> None:
    async def publish_beside(_: Any, event: Event, *, version: int) -> UUID:
        async with pipeline.feed.transaction(TENANT) as session:
            return await publish(session, event, version=version)

    monkeypatch.setattr(pipelines, "publish", publish_beside)
    expect(pipeline, "I2")


def test_a_transport_that_goes_on_after_a_lost_confirm_lets_events_overtake(
    pipeline: Pipeline, monkeypatch: Any
) -> None:
    def publish_on(wire: Wire, envelopes: Sequence[Envelope]) -> list[bool]:
        lost = wire.fate.at % len(envelopes) if wire.fate else None
        for index, envelope in enumerate(envelopes):
            if index != lost:
                wire._broker.enqueue(envelope)
        return [index != lost for index in range(len(envelopes))]

    monkeypatch.setattr(Wire, "_publish", publish_on)
    expect(pipeline, "I4")
