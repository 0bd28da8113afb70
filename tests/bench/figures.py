"""What a benchmark says: a figure, the raw limit measured in the same run, their ratio, and whether the goal is met."""

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.stand import Stand


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one measure of a figure: `value`, `over_limit`, `ratio`, `p50_ms`, `p99_ms` or `rss_mb`."""

    measure: str
    sign: str
    bound: float

    def holds(self, figure: "Figure") -> bool:
        found = getattr(figure, self.measure)
        if found is None:
            raise ValueError(f"{figure.name} has no {self.measure}")
        return bool(found >= self.bound if self.sign == "≥" else found <= self.bound)

    def __str__(self) -> str:
        return f"{self.measure} {self.sign} {self.bound:g}"


def at_least(measure: str, bound: float) -> Goal:
    return Goal(measure, "≥", bound)


def at_most(measure: str, bound: float) -> Goal:
    return Goal(measure, "≤", bound)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    `value` and `limit` have the same unit; `ratio` is ours over the limit for rates (1.0 = the raw limit). A figure
    without goals only informs. `record` names the decision record that explains a goal that is not reached.
    `series` are (x, ours, limit or None) points for a plot; `notes` are further numbers (statements, CPU ms);
    `layers` are the parts that make up `value`.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    ratio: float | None = None
    goals: tuple[Goal, ...] = ()
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_mb: float | None = None
    record: str | None = None
    series: tuple[tuple[float, float, float | None], ...] = ()
    notes: dict[str, float] = field(default_factory=dict)
    layers: dict[str, float] = field(default_factory=dict)

    @property
    def over_limit(self) -> float | None:
        """How much more than the raw limit, in `unit`: below zero where noise is larger than what we add."""
        return None if self.limit is None else self.value - self.limit

    @property
    def met(self) -> bool | None:
        return all(goal.holds(self) for goal in self.goals) if self.goals else None

    def as_json(self) -> dict[str, Any]:
        """Return the documented keys, numbers rounded to four significant digits; `record` only for a miss."""
        line: dict[str, Any] = {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "limit": _rounded(self.limit),
            "ratio": _rounded(self.ratio),
            "goal": ", ".join(map(str, self.goals)) or None,
            "met": self.met,
            "p50_ms": _rounded(self.p50_ms),
            "p99_ms": _rounded(self.p99_ms),
            "rss_mb": _rounded(self.rss_mb),
        }
        if self.notes:
            line["notes"] = {name: _rounded(value) for name, value in self.notes.items()}
        if self.layers:
            line["layers"] = {name: _rounded(value) for name, value in self.layers.items()}
        if self.met is False:
            line["record"] = self.record
        return line


def _rounded(value: float | None) -> float | None:
    if value is None or value == 0 or not math.isfinite(value):
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


Bench = Callable[[Stand], Awaitable[Sequence[Figure]]]
BENCHES: dict[str, Bench] = {}


def bench(name: str) -> Callable[[Bench], Bench]:
    """Register a benchmark under the name that `make bench ONLY=name` takes; it returns one figure or several."""

    def register(measure: Bench) -> Bench:
        if name in BENCHES:
            raise ValueError(f"declared twice: {name}")
        BENCHES[name] = measure
        return measure

    return register


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: how many, in how many seconds, and how long each took (milliseconds; may be empty)."""

    count: int
    seconds: float
    latencies_ms: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        return self.count / self.seconds


# Measured ones; one unmeasured round goes before them.
ROUNDS = 3


class Rounds:
    """Several rounds of one side. The rate is the median round's: one hiccup of the machine decides nothing."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    @property
    def rate(self) -> float:
        return statistics.median(sample.rate for sample in self.samples)

    def percentile_ms(self, percent: float) -> float | None:
        """Return the percentile (nearest rank) of all latencies in milliseconds, or None without any."""
        latencies = sorted(one for sample in self.samples for one in sample.latencies_ms)
        if not latencies:
            return None
        return latencies[min(len(latencies) - 1, math.ceil(percent / 100 * len(latencies)) - 1)]


Round = Callable[[], Awaitable[Sample]]


async def alternating(*sides: Round) -> list[Rounds]:
    """Run the sides one after the other, again and again, after one unmeasured round each: all meet the same machine."""
    found = [Rounds() for _ in sides]
    for number in range(ROUNDS + 1):
        for side, run in zip(found, sides, strict=True):
            sample = await run()
            if number:
                side.samples.append(sample)
    return found


async def interleaved(ours: Round, limit: Round) -> tuple[Rounds, Rounds]:
    """Run our side and the raw one alternately."""
    mine, raw = await alternating(ours, limit)
    return mine, raw


async def timed(count: int, work: Callable[[], Awaitable[object]]) -> Sample:
    """Run `work` once and return the sample of `count` things done in that time."""
    started = time.perf_counter()
    await work()
    return Sample(count, time.perf_counter() - started)


async def hammer(count: int, clients: int, once: Callable[[int], Awaitable[object]]) -> Sample:
    """Call `once(n)` for n in 0..count-1 from `clients` tasks, each one after the other; note every latency."""
    numbers = iter(range(count))
    latencies: list[float] = []

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await once(number)
            latencies.append((time.perf_counter() - began) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Sample(count, time.perf_counter() - started, tuple(latencies))
