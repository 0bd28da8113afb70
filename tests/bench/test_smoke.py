"""CI runs every benchmark at a tiny size: each figure can be measured, has its raw limit and says so; no thresholds."""

import asyncio
import json
import math
import re
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import load_benches
from tests.bench.figures import BENCHES, Figure, Goal, Rounds, Sample, at_least, at_most
from tests.bench.report import page, table

KEYS = {"name", "value", "unit", "limit", "ratio", "goal", "met", "p50_ms", "p99_ms", "rss_mb"}


@pytest.mark.timeout(600)
async def test_every_benchmark_prints_its_figures(tmp_path: Path) -> None:
    load_benches()
    command = [sys.executable, "-m", "tests.bench", "--smoke", "--page", str(tmp_path / "index.html")]
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
    printed, said = await process.communicate()
    assert process.returncode == 0, said.decode()[-3000:]
    lines = [json.loads(line) for line in printed.decode().splitlines()]
    # Names on the command line have no spaces.
    figures = [line["name"].replace(" ", "-") for line in lines]
    unmeasured = [name for name in BENCHES if not any(figure.startswith(name) for figure in figures)]
    assert unmeasured == []
    for line in lines:
        assert set(line) >= KEYS
        assert math.isfinite(line["value"])
        assert line["value"] > 0, line
    html = (tmp_path / "index.html").read_text()
    assert all(line["name"] in html for line in lines)
    assert not re.search(r"\b(src|href)=", html), "the page loads nothing"


def test_a_goal_compares_the_measure_it_names() -> None:
    figure = Figure("x", value=10, unit="/s", ratio=0.5, p99_ms=3)
    assert at_least("ratio", 0.5).holds(figure)
    assert not at_least("value", 11).holds(figure)
    assert at_most("p99_ms", 3).holds(figure)
    assert at_most("over_limit", 2).holds(Figure("y", value=10, unit="ms", limit=8))
    assert at_most("over_limit", 0).holds(Figure("y", value=7, unit="ms", limit=8))
    assert not at_most("over_limit", 1).holds(Figure("y", value=10, unit="ms", limit=8))
    with pytest.raises(ValueError, match="has no rss_mb"):
        Goal("rss_mb", "≤", 1).holds(figure)


def test_a_miss_names_its_record_and_is_shown_as_one() -> None:
    missed = Figure("slow", value=1, unit="/s", ratio=0.1, goals=(at_least("ratio", 0.5),), record="0099")
    assert missed.as_json()["met"] is False
    assert missed.as_json()["record"] == "0099"
    assert "missed (0099)" in table([missed])
    assert 'class="miss"' in page([missed])


def test_rates_are_the_median_round_and_percentiles_the_nearest_rank() -> None:
    rounds = Rounds()
    rounds.samples = [Sample(10, 1.0, (1.0, 2.0)), Sample(10, 2.0, (3.0,)), Sample(10, 10.0, (4.0,))]
    assert rounds.rate == 5
    assert (rounds.percentile_ms(50), rounds.percentile_ms(99)) == (2.0, 4.0)
