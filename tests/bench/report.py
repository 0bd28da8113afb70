"""The same figures for people: a table with a bar per figure, and an HTML page with plots that loads nothing."""

import html
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.bench.figures import Figure

BAR = 24
SHADES = ("#3465a4", "#cc7a00", "#4e9a06", "#75507b", "#a40000", "#888a85", "#c4a000")
STYLE = (
    "body{font:15px/1.5 system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.miss{color:#b00020}.met{color:#146c2e}"
    ".bar{background:#e6e6e6;width:12rem;height:.8rem}.bar i{display:block;height:100%;background:#3465a4}"
    "figure{display:inline-block;margin:1rem}"
)


def table(figures: Sequence[Figure]) -> str:
    """Return one line per figure: value, limit, a bar of the ratio (full = the raw limit), goal, met."""
    width = max((len(figure.name) for figure in figures), default=4)
    return "\n" + "".join(_line(figure, width) for figure in figures)


def _line(figure: Figure, width: int) -> str:
    filled = round(BAR * min(figure.ratio or 0, 1))
    bar = "█" * filled + "·" * (BAR - filled) if figure.ratio is not None else " " * BAR
    ratio = f"{figure.ratio:5.2f}×" if figure.ratio is not None else "      "
    verdict = {None: "", True: "met", False: f"missed ({figure.record or 'no record yet'})"}[figure.met]
    goal = ", ".join(map(str, figure.goals))
    return f"{figure.name:<{width}}  {figure.value:>12,.1f} {figure.unit:<10} {bar} {ratio}  {goal}  {verdict}\n"


def page(figures: Sequence[Figure]) -> str:
    """Return the last run as one self-contained HTML page."""
    rows = "".join(_row(figure) for figure in figures)
    plots = "".join(_plot(figure) for figure in figures if figure.series)
    plots += "".join(_stack(figure) for figure in figures if figure.layers)
    measured = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = "<tr><th>Figure<th>Value<th>Raw limit<th>Ratio<th><th>p50<th>p99<th>Memory<th>Goal<th>Met</tr>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>cowork benchmarks</title><style>{STYLE}</style>'
        f"<h1>Benchmarks</h1><p>Measured {measured}; each raw limit in the same run, interleaved.</p>"
        f"<table>{head}{rows}</table>{plots}</html>"
    )


def _row(figure: Figure) -> str:
    bar = f'<div class="bar"><i style="width:{min(figure.ratio, 1):.0%}"></i></div>' if figure.ratio is not None else ""
    verdict = {None: "", True: '<b class="met">yes</b>', False: '<b class="miss">no</b>'}[figure.met]
    if figure.met is False and figure.record:
        verdict += f" {html.escape(figure.record)}"
    numbers = (_number(figure.value, figure.unit), _number(figure.limit, figure.unit), _number(figure.ratio, "×"))
    more = (_number(figure.p50_ms, "ms"), _number(figure.p99_ms, "ms"), _number(figure.rss_mb, "MB"))
    cells = "".join(f'<td class="n">{cell}' for cell in numbers) + f"<td>{bar}"
    cells += "".join(f'<td class="n">{cell}' for cell in more)
    return f"<tr><td>{html.escape(figure.name)}{cells}<td>{html.escape(', '.join(map(str, figure.goals)))}<td>{verdict}</tr>"


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.2f} {html.escape(unit)}"


def _plot(figure: Figure) -> str:
    """Draw a figure's series: ours solid, the raw limit dashed."""
    width, height = 320, 180
    top = max(max(ours, limit or 0) for _, ours, limit in figure.series) or 1
    right = max(x for x, _, _ in figure.series) or 1

    def line(points: list[tuple[float, float]], style: str) -> str:
        path = " ".join(
            f"{30 + x / right * (width - 40):.1f},{height - 20 - y / top * (height - 40):.1f}" for x, y in points
        )
        return f'<polyline points="{path}" fill="none" stroke="#3465a4" stroke-width="2" {style}/>'

    ours = line([(x, y) for x, y, _ in figure.series], "")
    limit = line([(x, y) for x, _, y in figure.series if y is not None], 'stroke-dasharray="4 3"')
    frame = f'<path d="M30 20V{height - 20}H{width - 10}" stroke="#999" fill="none"/>'
    labels = f'<text x="30" y="14" font-size="11">{top:,.1f} {html.escape(figure.unit)}</text>'
    labels += f'<text x="{width - 10}" y="{height - 5}" font-size="11" text-anchor="end">{right:,.0f}</text>'
    caption = f"<figcaption>{html.escape(figure.name)}</figcaption>"
    return f'<figure><svg width="{width}" height="{height}" role="img">{frame}{ours}{limit}{labels}</svg>{caption}</figure>'


def _stack(figure: Figure) -> str:
    """Draw the parts of a figure as one bar, each with its own line of text."""
    width, total, left, drawn, said = 640, sum(figure.layers.values()) or 1, 0.0, "", ""
    for number, (layer, value) in enumerate(sorted(figure.layers.items(), key=lambda each: -each[1])):
        share, shade, down = value / total, SHADES[number % len(SHADES)], 48 + number * 16
        drawn += f'<rect x="{left:.1f}" y="8" width="{share * width:.1f}" height="24" fill="{shade}"/>'
        said += f'<rect x="0" y="{down - 9}" width="10" height="10" fill="{shade}"/>'
        said += f'<text x="16" y="{down}" font-size="11">{html.escape(layer)}: {value:.3f} {figure.unit}, {share:.0%}</text>'
        left += share * width
    height = 56 + len(figure.layers) * 16
    caption = f"<figcaption>{html.escape(figure.name)}</figcaption>"
    return f'<figure><svg width="{width}" height="{height}" role="img">{drawn}{said}</svg>{caption}</figure>'
