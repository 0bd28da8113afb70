"""A state machine over the pipeline: what may happen, in any order, and what must hold after every step.

I1 every committed event waits, is parked, is handled or was given up by the operator. I2 nothing rolled back is ever
seen. I3 each effect exists once (its table has no unique constraint). I4 a key's versions are handled in order and
without a gap. I5 the outbox is empty after a drain. And a failing key holds up only itself.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.bus import crash
from shared.db import uuid7
from tests.shared.bus.broker import Fate
from tests.shared.bus.clock import Killed
from tests.shared.bus.pipeline import HANG_SECONDS, Pipeline

KEYS = 3
FOREVER = 99
# Longer than: a lane's back-off, the lease, a claim of the parked runner, every back-off of a parked event.
SPANS = (1.0, 12.0, 130.0, 4000.0)
ROUNDS = 40
WRITER_POINTS = ("publish.before_log", "publish.before_outbox", "publish.before_commit")
RELAY_POINTS = ("relay.after_read", "relay.after_publish", "relay.after_delete")
CONSUMER_POINTS = (
    "consumer.before_inbox",
    "consumer.after_effects",
    "consumer.before_commit",
    "consumer.after_commit",
    "parked.after_claim",
    "parked.after_attempt",
)

keys = st.integers(0, KEYS - 1)
relays = st.integers(0, 1)
places = st.integers(0, 7)
fates = st.none() | st.none() | st.builds(Fate, st.sampled_from(["refused", "unconfirmed", "cut"]), places)


def one_in_three(points: tuple[str, ...]) -> st.SearchStrategy[str]:
    """A crash point, or the empty string twice as often: most steps succeed, or nothing would get far."""
    return st.just("") | st.just("") | st.sampled_from(points)


class PipelineMachine(RuleBasedStateMachine):
    """`committed` holds each key's event ids in the order of their commits: the n-th is version n.

    Whether a step has anything to do is asked when it is taken, never before: real databases answer in their own order,
    and what Hypothesis draws must not depend on it.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.run = pipeline.clock.run
        self.keys = [str(uuid7()) for _ in range(KEYS)]
        self.authors = {key: uuid7() for key in self.keys}
        self.committed: dict[str, list[UUID]] = defaultdict(list)
        self.given_up: set[UUID] = set()
        self.redacted: set[UUID] = set()
        self.is_sound = False
        self.run(pipeline.reset())
        self.is_sound = True

    @rule(key=keys, count=st.integers(1, 3))
    def write(self, key: int, count: int) -> None:
        name = self.keys[key]
        if name not in self.pipeline.open:
            next_version = len(self.committed[name]) + 1
            versions = [next_version + offset for offset in range(count)]
            self.committed[name] += self.run(self.pipeline.write(name, versions, author=self.authors[name]))

    @rule(key=keys)
    def begin(self, key: int) -> None:
        """Write and wait with the commit: other writers of the key wait for the row, those of other keys go on."""
        name = self.keys[key]
        if name not in self.pipeline.open:
            self.run(self.pipeline.begin(name, len(self.committed[name]) + 1, author=self.authors[name]))

    @rule(is_kept=st.booleans())
    def finish(self, is_kept: bool) -> None:
        if not self.pipeline.open:
            return
        name = next(iter(self.pipeline.open))
        event_id = self.run(self.pipeline.finish(name, is_kept=is_kept))
        if is_kept:
            self.committed[name].append(event_id)

    @rule(key=keys, point=st.sampled_from(WRITER_POINTS))
    def kill_the_writer(self, key: int, point: str) -> None:
        name = self.keys[key]
        if name in self.pipeline.open:
            return
        crash.arm(point)
        try:
            self.run(self.pipeline.write(name, [10**6], author=self.authors[name]))
        except Killed:
            return
        raise AssertionError("the writer went on")

    @rule(relay=relays, fate=fates, point=one_in_three(RELAY_POINTS))
    def relay(self, relay: int, fate: Fate | None, point: str) -> None:
        if self.pipeline.relays[relay].held is None:
            crash.arm(point)
            self.run(self.pipeline.relay(relay, fate))
            crash.arm("")

    @rule(
        key=keys,
        count=st.integers(1, 3),
        times=st.sampled_from([0, 0, 1, 2, 3, FOREVER]),
        fate=fates,
        point=one_in_three(CONSUMER_POINTS),
    )
    def flow(self, key: int, count: int, times: int = 0, fate: Fate | None = None, point: str = "") -> None:
        """Write, relay, deliver; a reaction that fails is tried twice before its lane parks it."""
        self.fail(key=key, times=times)
        self.write(key=key, count=count)
        for relay in range(2):
            self.relay(relay=relay, fate=fate, point="")
        crash.arm(point)
        self.run(self.pipeline.deliver(100))
        if times:
            self.run(self.pipeline.advance(SPANS[0]))
        crash.arm("")

    @rule(relay=relays, place=st.sampled_from(["before", "after"]))
    def hold_the_relay(self, relay: int, place: str) -> None:
        if self.pipeline.relays[relay].held is None:
            self.run(self.pipeline.hold(relay, place))

    @rule(relay=relays)
    def free_the_relay(self, relay: int) -> None:
        if self.pipeline.relays[relay].held is not None:
            self.run(self.pipeline.free(relay))

    @rule(count=st.sampled_from([1, 2, 3, 100]), point=one_in_three(CONSUMER_POINTS))
    def deliver(self, count: int, point: str) -> None:
        crash.arm(point)
        self.run(self.pipeline.deliver(count))
        crash.arm("")

    @rule(ending=st.sampled_from(["timeout", "disconnect", "kill"]))
    def hang(self, ending: str) -> None:
        """A reaction hangs until its time is up, its connection is lost or its process ends."""
        if not self.pipeline.broker.ready:
            return
        self.pipeline.hanging = self.pipeline.broker.ready[0].key
        self.run(self.pipeline.deliver(2))
        if ending == "disconnect":
            self.run(self.pipeline.disconnect())
        if ending == "kill":
            self.run(self.pipeline.restart())
        self.pipeline.hanging = None
        self.run(self.pipeline.advance(HANG_SECONDS))

    @rule(place=places)
    def repeat(self, place: int) -> None:
        if self.pipeline.broker.history:
            self.pipeline.broker.repeat(place)

    @rule(place=places)
    def reorder(self, place: int) -> None:
        if len(self.pipeline.broker.ready) > 1:
            self.pipeline.broker.swap(place % (len(self.pipeline.broker.ready) - 1))

    @rule(loses_acknowledgements=st.booleans())
    def disconnect(self, loses_acknowledgements: bool) -> None:
        """With the flag, acknowledgements are lost from now on and the connection at the next time."""
        if loses_acknowledgements:
            self.pipeline.broker.loses_acknowledgements = True
        else:
            self.run(self.pipeline.disconnect())

    @rule(key=keys, times=st.sampled_from([1, 2, 3, FOREVER]))
    def fail(self, key: int, times: int) -> None:
        self.pipeline.failures[self.keys[key]] = times

    @rule(key=keys)
    def succeed(self, key: int) -> None:
        self.pipeline.failures[self.keys[key]] = 0

    @rule(seconds=st.sampled_from(SPANS), point=one_in_three(CONSUMER_POINTS))
    def advance(self, seconds: float, point: str) -> None:
        crash.arm(point)
        self.run(self.pipeline.advance(seconds))
        crash.arm("")

    @rule(place=places, is_kept=st.booleans())
    def decide(self, place: int, is_kept: bool) -> None:
        """The operator retries or discards something that is parked."""
        parked = self.run(self.pipeline.parked())
        if parked:
            event_id = parked[place % len(parked)].event_id
            self.run(self.pipeline.decide(event_id, is_kept=is_kept))
            if not is_kept:
                self.given_up.add(event_id)

    @rule()
    def redrive(self) -> None:
        self.run(self.pipeline.redrive())

    @rule(key=keys, redrives=st.booleans())
    def redact(self, key: int, redrives: bool) -> None:
        """The key's author is erased; the operator may redrive while that transaction is open."""
        name = self.keys[key]
        if name not in self.pipeline.open:
            self.run(self.pipeline.redact(self.authors[name], redrives=redrives))
            self.redacted.update(self.committed[name])

    @rule()
    def lose_the_volume(self) -> None:
        """The broker forgets everything and the operator redrives before anything else is relayed.

        What was redacted meanwhile is not sent again: nobody is left whom it concerns.
        """
        lost = self.run(self.pipeline.lose_the_volume())
        self.given_up |= lost & self.redacted

    @invariant()
    def nothing_is_lost_doubled_seen_too_early_or_out_of_order(self) -> None:
        if self.is_sound:
            self.is_sound = False
            with self._noting_breaches():
                self.run(self._check())
            self.is_sound = True

    @contextmanager
    def _noting_breaches(self) -> Iterator[None]:
        """Real databases keep real time: what was seen once may not be seen when Hypothesis repeats the steps."""
        try:
            yield
        except AssertionError as error:
            self.pipeline.breaches.append(str(error))
            raise

    async def _check(self) -> None:
        pipeline = self.pipeline
        effects, parked = await pipeline.effects(), await pipeline.parked()
        handled = Counter(effect.event_id for effect in effects)
        known = {event_id for ids in self.committed.values() for event_id in ids}
        seen = {*handled, *pipeline.attempted, *(message.id for message in pipeline.broker.history)}
        assert seen <= known, "I2: seen, but never committed"
        assert not {one.type for one in parked} - {"feed.post.published.v1"}, "bytes that are no event were sent"
        assert max(handled.values(), default=0) <= 1, "I3: applied twice"
        assert not handled.keys() & {one.event_id for one in parked}, "handled, and still parked"
        self._check_order([effect.event_id for effect in effects])
        queued = {message.id for message in (*pipeline.broker.ready, *pipeline.broker.unacked)}
        found = handled.keys() | {one.event_id for one in parked} | queued | self.given_up
        if not known <= found:
            assert known <= found | await pipeline.to_be_sent(), "I1: lost"

    def _check_order(self, handled: list[UUID]) -> None:
        places = {event_id: place for place, event_id in enumerate(handled)}
        for ids in self.committed.values():
            expected = [event_id for event_id in ids if event_id in places]
            assert sorted(expected, key=places.__getitem__) == expected, "I4: versions out of order"
            last = ids.index(expected[-1]) if expected else 0
            skipped = set(ids[:last]) - places.keys() - self.given_up
            assert not skipped, "I4: an earlier version was overtaken"

    def teardown(self) -> None:
        """Drain twice: with the failures as they are, then healed and with every dead event retried."""
        if self.is_sound:
            with self._noting_breaches():
                self._come_to_an_end()

    def _come_to_an_end(self) -> None:
        self.run(self.pipeline.calm())
        while self.pipeline.open:
            self.finish(is_kept=True)
        self._drain()
        dead = {one.key for one in self.run(self.pipeline.parked()) if one.state == "dead"}
        self._expect_all_handled(set(self.keys) - dead)
        self.pipeline.failures.clear()
        for one in self.run(self.pipeline.parked()):
            self.run(self.pipeline.decide(one.event_id, is_kept=True))
        self._drain()
        assert not self.run(self.pipeline.parked()), "parked for ever"
        self._expect_all_handled(set(self.keys))
        assert self.redacted <= self.run(self.pipeline.redacted()), "kept after the erasure"

    def _drain(self) -> None:
        for _ in range(ROUNDS):
            if self.run(self.pipeline.drain()):
                break
        else:
            raise AssertionError("I5: the pipeline does not drain")
        self.run(self._check())

    def _expect_all_handled(self, names: set[str]) -> None:
        handled = {effect.event_id for effect in self.run(self.pipeline.effects())}
        for name in names:
            assert set(self.committed[name]) <= handled | self.given_up, "held up by another key"
