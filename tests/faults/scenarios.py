"""What a scenario is, how it is run under load, and the line that it prints."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ground import Ground
from tests.faults.invariants import Findings, Invariants
from tests.faults.load import Load

WARM_UP_SECONDS = 2.0
AFTERWARDS_SECONDS = 3.0
OUTBOX_SECONDS = 30.0
DRAIN_SECONDS = 180.0


class NotReached(RuntimeError):
    """A process has not come by its crash point, or a command has not ended as it should: the run shows nothing."""


@dataclass
class Run:
    """One scenario while it runs. It counts its kills; `short` asks for the part that CI has time for.

    `measured` is printed whether the run is ok or not; `complaints` make it fail.
    """

    ground: Ground
    load: Load
    short: bool = False
    kills: int = 0
    measured: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def suite(self) -> Any:
        return self.ground.suite

    def times(self, full: int, *, short: int) -> int:
        return short if self.short else full


Fault = Callable[[Run], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`allows_5xx`: something else than the broker is down, so that requests may fail. `in_short`: CI runs it, too.

    `ground` makes what the scenario stands on; scenarios with the same one share it.
    """

    name: str
    fault: Fault
    allows_5xx: bool = False
    in_short: bool = False
    ground: Callable[[], Ground] = Ground
    # The broker has lost confirmed messages: what is sent again comes after what was published since.
    loses_order: bool = False
    # A rule is broken: what the run has to complain of, a key of its line or the beginning of a complaint.
    expects: str | None = None
    drain_seconds: float = DRAIN_SECONDS


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    allows_5xx: bool = False,
    in_short: bool = False,
    loses_order: bool = False,
    ground: Callable[[], Ground] = Ground,
) -> Callable[[Fault], Fault]:
    """Register a fault under the name that `make faults ONLY=name` takes; it returns when the fault is over."""

    def register(fault: Fault) -> Fault:
        if name in SCENARIOS:
            raise ValueError(f"declared twice: {name}")
        SCENARIOS[name] = Scenario(name, fault, allows_5xx, in_short, ground, loses_order)
        return fault

    return register


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scenario printed and measured, and why it is not ok."""

    line: dict[str, Any]
    measured: list[str]
    complaints: list[str]
    answers: dict[str, int]


async def run_scenario(one: Scenario, ground: Ground, *, short: bool = False) -> Outcome:
    """Run a fault under load, let everything drain, and check every invariant."""
    invariants = await ground.invariants()
    run = Run(ground, ground.load(), short=short)
    await run.load.start()
    try:
        await asyncio.sleep(WARM_UP_SECONDS)
        await _do(one, run)
        over = time.monotonic()
        await asyncio.sleep(AFTERWARDS_SECONDS)
    finally:
        await run.load.stop()
    drained = await _seconds_to(ground.outboxes_are_empty, since=over, at_most=one.drain_seconds)
    settled = await _seconds_to(ground.is_settled, since=over, at_most=one.drain_seconds)
    findings = await _check(invariants, run, until=over + one.drain_seconds)
    broken = [said for said in findings.examples if not (one.loses_order and said.startswith("out_of_order"))]
    complaints = [*run.complaints, *broken, *_complaints(one, run, findings, drained, settled)]
    if silent := await ground.silent():
        complaints.append(f"consumers fell silent: {sorted(silent)}")
    if dead := ground.suite.dead():
        complaints.append(f"processes ended that nobody had killed: {dead}")
    is_ok = not complaints if one.expects is None else _is_seen(one.expects, findings, run, complaints)
    line = _line(one, run, findings, drained, ok=is_ok)
    return Outcome(line, run.measured, complaints, dict(run.load.answers.counts))


def _is_seen(expected: str, findings: Findings, run: Run, complaints: list[str]) -> bool:
    """Whether the run has noticed the rule that was broken for it."""
    counted = {**vars(findings), "http_5xx": run.load.answers.http_5xx}
    return bool(counted.get(expected)) or any(one.startswith(expected) for one in complaints)


async def _check(invariants: Invariants, run: Run, *, until: float) -> Findings:
    """Check; what a broker does not report as waiting may still be on its way, so what is missing is asked for again."""
    while True:
        findings = await invariants.check(run.load.answers)
        if not findings.lost or time.monotonic() > until:
            return findings
        await asyncio.sleep(5)


async def _do(one: Scenario, run: Run) -> None:
    try:
        await one.fault(run)
    except NotReached as error:
        run.complaints.append(str(error))


def _line(one: Scenario, run: Run, findings: Findings, drained: float | None, *, ok: bool) -> dict[str, Any]:
    return {
        "scenario": one.name,
        "events": findings.events,
        "kills": run.kills,
        "lost": findings.lost,
        "ghosts": findings.ghosts,
        "applied_twice": findings.applied_twice,
        "out_of_order": findings.out_of_order,
        "http_5xx": run.load.answers.http_5xx,
        "drained_s": None if drained is None else round(drained, 1),
        "ok": ok,
    }


def _complaints(one: Scenario, run: Run, findings: Findings, drained: float | None, settled: float | None) -> list[str]:
    answers, found = run.load.answers, []
    if drained is None or drained > OUTBOX_SECONDS:
        found.append(f"the outboxes were not empty {OUTBOX_SECONDS:.0f} s after the fault ({drained})")
    if settled is None:
        found.append(f"queues or parked events were left {one.drain_seconds:.0f} s after the fault")
    if answers.http_5xx and not one.allows_5xx:
        found.append(f"{answers.http_5xx} answers were 5xx: {dict(answers.counts)}")
    if unknown := sum(count for name, count in answers.counts.items() if name.startswith("500")):
        found.append(f"{unknown} answers were 500, for errors that nobody has thought of: {run.suite.unexpected()}")
    if findings.events == 0 or not answers.undone:
        found.append("the load wrote nothing, or nothing was rolled back: the run shows nothing")
    return found


async def _seconds_to(condition: Callable[[], Awaitable[bool]], *, since: float, at_most: float) -> float | None:
    while not await condition():
        if time.monotonic() - since > at_most:
            return None
        await asyncio.sleep(0.1)
    return time.monotonic() - since
