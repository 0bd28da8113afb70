"""Short stories of the pipeline, told step by step with the moves of the state machine."""

from tests.shared.bus.machine import PipelineMachine
from tests.shared.bus.pipeline import Pipeline


def test_a_duplicate_of_a_parked_event_changes_nothing(pipeline: Pipeline) -> None:
    machine = PipelineMachine(pipeline)
    machine.flow(key=0, count=1, times=2)
    machine.repeat(place=0)
    machine.deliver(count=1, point="")
    machine.nothing_is_lost_doubled_seen_too_early_or_out_of_order()
    assert pipeline.clock.run(pipeline.parked())
    machine.teardown()


def test_a_discarded_event_stays_discarded_when_it_comes_again(pipeline: Pipeline) -> None:
    machine = PipelineMachine(pipeline)
    machine.flow(key=0, count=1, times=2)
    machine.decide(place=0, is_kept=False)
    machine.flow(key=0, count=1)
    machine.repeat(place=0)
    machine.deliver(count=1, point="")
    assert [one.version for one in pipeline.clock.run(pipeline.effects())] == [2]
    machine.teardown()


def test_retrying_a_blocked_event_does_not_let_it_overtake(pipeline: Pipeline) -> None:
    machine = PipelineMachine(pipeline)
    machine.flow(key=0, count=2, times=2)
    machine.decide(place=1, is_kept=True)
    machine.advance(seconds=1.0, point="")
    assert not pipeline.clock.run(pipeline.effects())
    machine.teardown()
    assert [one.version for one in pipeline.clock.run(pipeline.effects())] == [1, 2]


def test_a_redrive_during_an_erasure_sends_nothing_empty(pipeline: Pipeline) -> None:
    machine = PipelineMachine(pipeline)
    machine.flow(key=0, count=1)
    machine.redact(key=0, redrives=True)
    machine.relay(relay=0, fate=None, point="")
    assert not pipeline.broker.ready
    machine.teardown()


def test_what_was_emptied_and_is_lost_with_the_broker_is_gone_and_holds_nobody_up(pipeline: Pipeline) -> None:
    machine = PipelineMachine(pipeline)
    machine.flow(key=0, count=1, point="consumer.before_inbox")
    machine.redact(key=0, redrives=True)
    machine.lose_the_volume()
    machine.flow(key=0, count=1)
    machine.nothing_is_lost_doubled_seen_too_early_or_out_of_order()
    assert [one.version for one in pipeline.clock.run(pipeline.effects())] == [2]
    machine.teardown()
