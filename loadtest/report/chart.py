"""Charts as SVG text; colors come from the page's style sheet, by the number of the series."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from loadtest.distribution import Floats
from loadtest.report.scale import Scale, scale_for

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 40

Values = Sequence[float] | Floats
Style = Literal["line", "steps", "dots"]


@dataclass(frozen=True)
class Series:
    """Points in the order they are to be joined in."""

    name: str
    x: Values
    y: Values


@dataclass(frozen=True)
class Chart:
    """What is drawn, in the units its labels say; `vertical` are x values to mark, with a word for each."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    style: Style = "line"
    log_x: bool = False
    vertical: Sequence[tuple[float, str]] = ()

    @property
    def has_points(self) -> bool:
        return any(len(series.x) for series in self.series)


def svg(chart: Chart) -> str:
    """The chart as an <svg> element."""
    x = scale_for([v for s in chart.series for v in s.x], LEFT, WIDTH - RIGHT, chart.log_x)
    y = scale_for([v for s in chart.series for v in s.y], HEIGHT - BOTTOM, TOP)
    pieces = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title, quote=True)}">',
        *_axes(chart, x, y),
        *(_mark(x, at, word) for at, word in chart.vertical if x.low <= at <= x.high),
        *(_drawn(series, number, chart.style, x, y) for number, series in enumerate(chart.series)),
        "</svg>",
    ]
    return "\n".join(pieces)


def number_text(value: float) -> str:
    """A number in as few digits as a tick needs."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e4 else f"{round(value, 9):g}"


def _axes(chart: Chart, x: Scale, y: Scale) -> list[str]:
    lines = []
    for tick in y.ticks():
        at = y.px(tick)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{number_text(tick)}</text>')
    for tick in x.ticks():
        at = x.px(tick)
        lines.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        lines.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number_text(tick)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines.append(
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(chart.x_label)}</text>"
    )
    lines.append(
        f'<text class="label" x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{escape(chart.y_label)}</text>"
    )
    return lines


def _mark(x: Scale, at: float, word: str) -> str:
    px = x.px(at)
    return (
        f'<line class="mark" x1="{px:.1f}" x2="{px:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="mark" x="{px + 4:.1f}" y="{TOP + 10}">{escape(word)}</text>'
    )


def _drawn(series: Series, number: int, style: Style, x: Scale, y: Scale) -> str:
    points = [(x.px(at), y.px(value)) for at, value in zip(series.x, series.y, strict=True)]
    if style == "dots":
        dots = "".join(f'<circle cx="{at:.1f}" cy="{value:.1f}" r="2.2"/>' for at, value in points)
        return f'<g class="s{number} dots">{dots}</g>'
    if style == "steps":
        corners = [
            corner for (left, below), (right, _) in pairwise(points) for corner in ((left, below), (right, below))
        ]
        points = corners + points[-1:]
    joined = " ".join(f"{at:.1f},{value:.1f}" for at, value in points)
    return f'<polyline class="s{number} line" points="{joined}"/>'
