"""`python -m tests.faults [ONLY …] [--short]`: break everything on purpose; one JSON line per scenario, exit 1 unless all hold."""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from shared import logging
from tests.faults.scenarios import SCENARIOS, Outcome, Scenario, run_scenario


def load_scenarios() -> None:
    """Import every `of_*.py` beside this file."""
    for path in sorted(Path(__file__).parent.glob("of_*.py")):
        importlib.import_module(f"tests.faults.{path.stem}")


async def run_all(chosen: list[Scenario], *, short: bool) -> bool:
    """Run scenarios one after the other, those of one ground together; a ground that one has left broken is not used again."""
    ground, stands_on, is_ok = None, None, True
    try:
        for one in sorted(chosen, key=_grounds(chosen)):
            if ground is not None and stands_on is not one.ground:
                await ground.stop()
                ground = None
            if ground is None:
                ground, stands_on = one.ground(), one.ground
                await ground.start()
            started = time.monotonic()
            outcome = await run_scenario(one, ground, short=short)
            _say(outcome, seconds=time.monotonic() - started)
            is_ok = is_ok and outcome.line["ok"]
            # A rule was broken, or one is: what comes next starts on firm ground.
            if outcome.complaints or one.expects is not None:
                await ground.stop()
                ground = None
    finally:
        if ground is not None:
            await ground.stop()
    return is_ok


def _grounds(chosen: list[Scenario]) -> Callable[[Scenario], int]:
    """Return the order in which grounds are first asked for: only one stands at a time, each as seldom as possible."""
    order = list(dict.fromkeys(one.ground for one in chosen))
    return lambda one: order.index(one.ground)


def _say(outcome: Outcome, *, seconds: float) -> None:
    sys.stdout.write(json.dumps(outcome.line) + "\n")
    sys.stdout.flush()
    for said in [*outcome.measured, *outcome.complaints]:
        sys.stderr.write(f"  {said}\n")
    sys.stderr.write(f"{outcome.line['scenario']}: {seconds:.0f} s, answers {outcome.answers}\n")


def main() -> int:
    load_scenarios()
    parser = argparse.ArgumentParser(
        prog="make faults", description="Break everything on purpose and check the promises."
    )
    parser.add_argument("only", nargs="*", metavar="SCENARIO", help=f"one or several of: {', '.join(SCENARIOS)}")
    parser.add_argument("--short", action="store_true", help="the two minutes that CI has for it")
    asked = parser.parse_args()
    if unknown := [name for name in asked.only if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)} (there are: {', '.join(SCENARIOS)})")
    logging.configure("faults", level="ERROR")
    chosen = [one for one in SCENARIOS.values() if one.name in asked.only or not (asked.only or asked.short)]
    if asked.short and not asked.only:
        chosen = [one for one in SCENARIOS.values() if one.in_short]
    return 0 if uvloop.run(run_all(chosen, short=asked.short)) else 1


if __name__ == "__main__":
    sys.exit(main())
