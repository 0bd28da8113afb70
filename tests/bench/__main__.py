"""`python -m tests.bench [ONLY …] [--smoke] [--page FILE]`: measure, print a JSON line per figure, then a table."""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

import uvloop

from shared import logging
from tests.bench.figures import BENCHES, Figure
from tests.bench.report import page, table
from tests.bench.stand import Stand

SMOKE = 0.02


def load_benches() -> None:
    """Import every `bench_*.py` beside this file."""
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        importlib.import_module(f"tests.bench.{path.stem}")


async def measure(only: list[str], *, scale: float) -> list[Figure]:
    """Run the named benchmarks, or all; print each figure as soon as it is known."""
    began, stand, figures = time.perf_counter(), Stand(scale=scale), []
    await stand.start()
    try:
        for name in only or list(BENCHES):
            started = time.perf_counter()
            for figure in await BENCHES[name](stand):
                figures.append(figure)
                sys.stdout.write(json.dumps(figure.as_json(), ensure_ascii=False) + "\n")
                sys.stdout.flush()
            sys.stderr.write(f"{name}: measured in {time.perf_counter() - started:.0f} s\n")
    finally:
        await stand.stop()
    sys.stderr.write(f"{len(figures)} figures in {time.perf_counter() - began:.0f} s\n")
    return figures


def main() -> int:
    load_benches()
    parser = argparse.ArgumentParser(prog="make bench", description="Measure against the raw limit in the same run.")
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"one or several of: {', '.join(BENCHES)}")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: shows that every figure can be measured")
    parser.add_argument("--page", type=Path, default=Path("var/bench/index.html"), help="where the HTML page goes")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.only if name not in BENCHES]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(BENCHES)})")
    logging.configure("bench", level="ERROR")
    figures = uvloop.run(measure(chosen.only, scale=SMOKE if chosen.smoke else 1.0))
    sys.stderr.write(table(figures))
    chosen.page.parent.mkdir(parents=True, exist_ok=True)
    chosen.page.write_text(page(figures))
    sys.stderr.write(f"\n{chosen.page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
