"""Geometry of the charts: scales for dots with intervals, lines with bands. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evensight.report.figures import Bar

# Inner frame of a line chart, in the units of its viewBox: about the pixels of a phone's width.
WIDTH, HEIGHT = 360.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 352.0, 8.0, 168.0
# CSS classes of the lines of a chart.
STYLES = ("one", "two", "three", "four", "five", "six")
# More rows than this are cut to the worst.
MOST_BARS = 40

Rule = tuple[float, str]


@dataclass(frozen=True)
class Scale:
    """A linear axis: `percent` places a value on it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Returns where a value lies, 0 to 100; values outside lie on the edge."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 3)


def scale(values: Iterable[float | None], least: float = -math.inf, most: float = math.inf, count: int = 4) -> Scale:
    """Returns an axis with round ticks that holds all values.

    Args:
        values: What has to be on it.
        least: No axis starts below.
        most: No axis ends above.
        count: About how many steps.
    """
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = max(least, min(known)), min(most, max(known))
    if high - low < 1e-9:
        low, high = max(least, low - 0.05), min(most, high + 0.05)
    step = _round_step((high - low) / count)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    first, last = max(least, start * step), min(most, stop * step)
    ticks = [round(i * step, 10) for i in range(start, stop + 1)]
    return Scale(first, last, tuple(tick for tick in ticks if first - 1e-9 <= tick <= last + 1e-9))


def rates_scale(bars: Iterable[Bar], bounds: Iterable[float | None] = ()) -> Scale:
    """Returns an axis of rates for dots with intervals, never beyond 0 and 1."""
    return scale([*_ends(bars), *bounds], least=0.0, most=1.0, count=3)


def differences_scale(bars: Iterable[Bar], bounds: Iterable[float | None] = ()) -> Scale:
    """Returns an axis of differences of rates, with 0 on it."""
    return scale([*_ends(bars), *bounds, 0.0], least=-1.0, most=1.0, count=3)


@dataclass(frozen=True)
class BarChart:
    """Dots with intervals on one axis, with the bound of a requirement where there is one."""

    title: str
    bars: list[Bar]
    axis: Scale
    bound: float | None = None
    bound_words: str = ""
    note: str = ""


def bar_chart(title: str, bars: list[Bar], bound: Rule | None = None, signed: bool = False, note: str = "") -> BarChart:
    """Lays out dots with intervals, the worst 40 where there are more.

    Args:
        title: Of the chart.
        bars: The figures.
        bound: Value and words of a dashed rule.
        signed: Whether the figures are differences of rates, and not rates.
        note: A line under the chart.
    """
    if len(bars) > MOST_BARS:
        note = "; ".join(part for part in (note, f"the worst {MOST_BARS} of {len(bars)}") if part)
        worst = -1 if signed else 1  # of differences the largest are the worst
        bars = sorted(bars, key=lambda bar: worst * bar.estimate if bar.estimate is not None else 2.0)[:MOST_BARS]
    value, words = bound if bound is not None else (None, "")
    axis = (differences_scale if signed else rates_scale)(bars, [value])
    return BarChart(title, bars, axis, value, words, note)


@dataclass(frozen=True)
class Point:
    """A figure of one epoch, or at one place of a timeline."""

    epoch: int
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Series:
    """A figure over the epochs. `style` is one of `STYLES`."""

    name: str
    points: tuple[Point, ...]
    style: str


@dataclass(frozen=True)
class Line:
    """A series as it is drawn."""

    name: str
    style: str
    path: str
    band: str
    dots: tuple[tuple[float, float, str], ...]  # x, y, what it says
    last: str  # the value at the last epoch, in words


@dataclass(frozen=True)
class Chart:
    """A chart of lines: tick marks, lines, and horizontal rules (the bounds of requirements).

    `marks` are moments (x, what happened, a CSS class), `spans` are stretches of the axis (x, width, name).
    """

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    rules: list[tuple[float, str]] = field(default_factory=list)  # y, what it says
    note: str = ""
    unit: str = "epochs"
    marks: list[tuple[float, str, str]] = field(default_factory=list)
    spans: list[tuple[float, float, str]] = field(default_factory=list)


def series(epochs: Sequence[Mapping[str, Any]], key: str, name: str, style: str) -> Series | None:
    """Returns a figure of `metrics.jsonl` over the epochs that measured it; None where none did."""
    points = []
    for line in epochs:
        value = line["metrics"].get(key)
        if value is not None:
            low, high, n = line.get("intervals", {}).get(key, (None, None, None))
            points.append(Point(int(line["epoch"]) + 1, float(value), low, high, n))
    return Series(name, tuple(points), style) if points else None


def line_chart(
    title: str,
    parts: Iterable[Series | None],
    num_epochs: int,
    rules: Sequence[tuple[float, str]] = (),
    rate: bool = True,
    note: str = "",
) -> Chart | None:
    """Lays out a chart; None where no series has a point.

    Args:
        title: Of the chart.
        parts: The series; None are left out.
        num_epochs: Length of the epoch axis.
        rules: (value, words) of horizontal rules.
        rate: Whether the values are rates: the axis then ends at 1 and shows no more than it needs.
        note: A line under the chart.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return None
    values = [end for part in known for point in part.points for end in (point.value, point.low, point.high)]
    axis = scale([*values, *(value for value, _ in rules)], most=1.0 if rate else math.inf)

    def x(epoch: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (0.5 if num_epochs == 1 else (epoch - 1) / (num_epochs - 1)), 2)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * axis.percent(value) / 100, 2)

    return Chart(
        title,
        [_line(part, x, y) for part in known],
        [(x(epoch), str(epoch)) for epoch in _epoch_ticks(num_epochs)],
        [(y(tick), number(tick)) for tick in axis.ticks],
        [(y(value), words) for value, words in rules],
        note,
    )


@dataclass(frozen=True)
class Timeline:
    """The axis of a chart over time or over requests, 0 to `length`, and what happened along it.

    Attributes:
        length: Of the axis, above 0.
        unit: What it counts: "requests".
        ticks: Place and words of the tick marks; none: round numbers.
        marks: Place, words and CSS class (`alarm`, `swap`) of what happened.
        spans: First, end and name of stretches that are told apart.
    """

    length: float
    unit: str
    ticks: tuple[tuple[float, str], ...] = ()
    marks: tuple[tuple[float, str, str], ...] = ()
    spans: tuple[tuple[float, float, str], ...] = ()


def time_chart(
    title: str,
    parts: Iterable[Series | None],
    timeline: Timeline,
    rules: Sequence[tuple[float, str]] = (),
    rate: bool = True,
    note: str = "",
) -> Chart | None:
    """Lays out a chart whose points lie at `Point.epoch` of a timeline; None where no series has a point.

    Args:
        title: Of the chart.
        parts: The series; None are left out.
        timeline: Its axis.
        rules: (value, words) of horizontal rules.
        rate: Whether the values are rates: the axis then ends at 1.
        note: A line under the chart.
    """
    known = [part for part in parts if part is not None and part.points]
    if not known:
        return None
    values = [end for part in known for point in part.points for end in (point.value, point.low, point.high)]
    axis = scale([*values, *(value for value, _ in rules)], most=1.0 if rate else math.inf)

    def x(place: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, place / timeline.length)), 2)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * axis.percent(value) / 100, 2)

    ticks = timeline.ticks or tuple(
        (tick, number(tick)) for tick in scale([0.0, timeline.length], least=0.0, most=timeline.length).ticks
    )
    return Chart(
        title,
        [_line(part, x, y, timeline.unit) for part in known],
        [(x(place), words) for place, words in ticks],
        [(y(tick), number(tick)) for tick in axis.ticks],
        [(y(value), words) for value, words in rules],
        note,
        timeline.unit,
        [(x(place), words, kind) for place, words, kind in timeline.marks],
        [(x(first), round(x(end) - x(first), 2), name) for first, end, name in timeline.spans],
    )


def number(value: float) -> str:
    """Writes a tick or a figure shortly: two decimals where they say something."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def spoken(point: Point) -> str:
    """Says a figure with its interval and images."""
    text = f"{point.value:.3f}"
    if point.low is not None and point.high is not None:
        text += f" ({point.low:.3f} to {point.high:.3f}, n {point.n:,})"
    return text


def _ends(bars: Iterable[Bar]) -> list[float]:
    return [end for bar in bars for end in ((bar.low, bar.high) if bar.n else ())]


def _line(part: Series, x: Any, y: Any, unit: str = "epochs") -> Line:
    path = "M" + "L".join(f"{x(point.epoch)},{y(point.value)}" for point in part.points)
    banded = [point for point in part.points if point.low is not None and point.high is not None]
    band = ""
    if len(banded) > 1:
        upper = [f"{x(point.epoch)},{y(point.high)}" for point in banded]
        lower = [f"{x(point.epoch)},{y(point.low)}" for point in reversed(banded)]
        band = "M" + "L".join(upper + lower) + "Z"
    places = [f"epoch {p.epoch}" if unit == "epochs" else f"{p.epoch:,} {unit}" for p in part.points]
    dots = tuple(
        (x(p.epoch), y(p.value), f"{place}: {part.name} {spoken(p)}")
        for place, p in zip(places, part.points, strict=True)
    )
    return Line(part.name, part.style, path, band, dots, spoken(part.points[-1]))


def _epoch_ticks(num_epochs: int) -> list[int]:
    step = max(1, int(_round_step(num_epochs / 6)))
    ticks = [1, *range(step, num_epochs + 1, step)]
    return sorted(set(ticks))


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(max(raw, 1e-9)))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= raw - 1e-12)
