"""The pipeline under every order of mishaps that Hypothesis thinks of.

COWORK_HYPOTHESIS=long plays for minutes with a fresh seed. The seed of a run is printed at its end, and
`--hypothesis-seed=<seed>` repeats it.
"""

import os
import random
from typing import Any

from hypothesis import core
from hypothesis.errors import Flaky

from tests.shared.bus.pipeline import Pipeline
from tests.shared.bus.play import play, profile

SHORT = profile(40, 30)
LONG = profile(400, 50)
FIXED_SEED = 20260301


def test_nothing_is_lost_doubled_or_reordered_whatever_happens(pipeline: Pipeline, record_property: Any) -> None:
    is_long = os.environ.get("COWORK_HYPOTHESIS") == "long"
    chosen = random.SystemRandom().getrandbits(32) if is_long else FIXED_SEED
    if core.global_force_seed is not None:
        chosen = int(core.global_force_seed)
    record_property("hypothesis-seed", chosen)
    try:
        play(pipeline, LONG if is_long else SHORT, seed_of_run=chosen)
    except Flaky as error:
        # What was seen once and not again says nothing of what it was.
        raise AssertionError(f"breaches: {pipeline.breaches}") from error
