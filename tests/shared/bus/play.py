"""How the state machine is run: bounded, seeded, and repeatable by its seed."""

from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.shared.bus.machine import PipelineMachine
from tests.shared.bus.pipeline import Pipeline


def profile(examples: int, steps: int, **more: Any) -> settings:
    """Without the example database: a run is repeated by its seed."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **{"phases": [Phase.generate, Phase.shrink], **more},
    )


def play(pipeline: Pipeline, profile: settings, *, seed_of_run: int) -> None:
    """Let Hypothesis drive a machine over the pipeline; raises what it finds."""
    # Hypothesis reads the seed from the factory, where `@seed` leaves it.
    factory: Any = seed(seed_of_run)(lambda: PipelineMachine(pipeline))
    run_state_machine_as_test(factory, settings=profile)
