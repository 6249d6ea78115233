"""Geometry of charts of lines with bands: figures over the epochs, over requests, over time. A template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evensight.report.charts import Rule, number, round_step, scale

# Inner frame of a chart, in the units of its viewBox (360 x 190): about the pixels of a phone's width.
LEFT, RIGHT, TOP, BOTTOM = 34.0, 352.0, 8.0, 168.0
# CSS classes of the lines of a chart.
STYLES = ("one", "two", "three", "four", "five", "six")
EPOCHS = "epochs"  # what the axis of a run's training counts


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
    rules: list[tuple[float, str]]  # y, what it says
    note: str
    unit: str
    marks: list[tuple[float, str, str]]
    spans: list[tuple[float, float, str]]


def series(epochs: Sequence[Mapping[str, Any]], key: str, name: str, style: str) -> Series | None:
    """Returns a figure of `metrics.jsonl` over the epochs that measured it; None where none did."""
    points = []
    for line in epochs:
        value = line["metrics"].get(key)
        if value is not None:
            low, high, n = line.get("intervals", {}).get(key, (None, None, None))
            points.append(Point(int(line["epoch"]) + 1, float(value), low, high, n))
    return Series(name, tuple(points), style) if points else None


@dataclass(frozen=True)
class Timeline:
    """The axis of a chart over epochs, time or requests, and what happened along it.

    Attributes:
        length: Of the axis, above 0.
        unit: What it counts: "requests".
        ticks: Place and words of the tick marks; none: round numbers.
        marks: Place, words and CSS class (`alarm`, `swap`) of what happened.
        spans: First, end and name of stretches that are told apart.
        start: Where the axis begins.
    """

    length: float
    unit: str
    ticks: tuple[tuple[float, str], ...] = ()
    marks: tuple[tuple[float, str, str], ...] = ()
    spans: tuple[tuple[float, float, str], ...] = ()
    start: float = 0.0

    def x(self, place: float) -> float:
        """Returns where a place lies in the chart's frame; places beyond the axis lie on its end."""
        return round(LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, (place - self.start) / self.length)), 2)

    @property
    def named(self) -> list[tuple[float, str]]:
        """Where the tick marks lie, and their words."""
        end = self.start + self.length
        even = scale([self.start, end], least=self.start, most=end).ticks
        return [(self.x(place), words) for place, words in self.ticks or [(tick, number(tick)) for tick in even]]

    @property
    def stretches(self) -> list[tuple[float, float, str]]:
        """Where each span begins in the frame, its width, and its name."""
        ends = [(self.x(first), self.x(end), name) for first, end, name in self.spans]
        return [(first, round(end - first, 2), name) for first, end, name in ends]


def epochs_axis(num_epochs: int) -> Timeline:
    """Returns the axis from the first epoch to the last; a single epoch lies in its middle."""
    step = max(1, int(round_step(num_epochs / 6)))
    ticks = sorted({1, *range(step, num_epochs + 1, step)})
    start, length = (0.0, 2.0) if num_epochs == 1 else (1.0, num_epochs - 1.0)
    return Timeline(length, EPOCHS, tuple((float(epoch), str(epoch)) for epoch in ticks), start=start)


def line_chart(
    title: str,
    parts: Iterable[Series | None],
    num_epochs: int,
    rules: Sequence[Rule] = (),
    rate: bool = True,
    note: str = "",
) -> Chart | None:
    """Lays out a chart over the epochs, 1 to `num_epochs`; the rest as of `time_chart`."""
    return time_chart(title, parts, epochs_axis(num_epochs), rules, rate, note)


def time_chart(
    title: str,
    parts: Iterable[Series | None],
    timeline: Timeline,
    rules: Sequence[Rule] = (),
    rate: bool = True,
    note: str = "",
) -> Chart | None:
    """Lays out a chart whose points lie at `Point.epoch` of a timeline; None where no series has a point.

    Args:
        title: Of the chart.
        parts: The series; None are left out.
        timeline: Its axis.
        rules: (value, words) of horizontal rules.
        rate: Whether the values are rates: the axis then ends at 1 and shows no more than it needs.
        note: A line under the chart.
    """
    known = [part for part in parts if part is not None and part.points]
    if not known:
        return None
    values = [end for part in known for point in part.points for end in (point.value, point.low, point.high)]
    axis = scale([*values, *(value for value, _ in rules)], most=1.0 if rate else math.inf)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * axis.percent(value) / 100, 2)

    return Chart(
        title,
        [_line(part, timeline, y) for part in known],
        timeline.named,
        [(y(tick), number(tick)) for tick in axis.ticks],
        [(y(value), words) for value, words in rules],
        note,
        timeline.unit,
        [(timeline.x(place), words, kind) for place, words, kind in timeline.marks],
        timeline.stretches,
    )


def spoken(point: Point) -> str:
    """Says a figure with its interval and images."""
    text = f"{point.value:.3f}"
    if point.low is not None and point.high is not None:
        text += f" ({point.low:.3f} to {point.high:.3f}, n {point.n:,})"
    return text


def _line(part: Series, timeline: Timeline, y: Callable[[float], float]) -> Line:
    path = "M" + "L".join(f"{timeline.x(point.epoch)},{y(point.value)}" for point in part.points)
    banded = [(timeline.x(p.epoch), p.low, p.high) for p in part.points if p.low is not None and p.high is not None]
    band = ""
    if len(banded) > 1:
        upper = [f"{x},{y(high)}" for x, _, high in banded]
        lower = [f"{x},{y(low)}" for x, low, _ in reversed(banded)]
        band = "M" + "L".join(upper + lower) + "Z"
    places = [f"epoch {p.epoch}" if timeline.unit == EPOCHS else f"{p.epoch:,} {timeline.unit}" for p in part.points]
    dots = tuple(
        (timeline.x(p.epoch), y(p.value), f"{place}: {part.name} {spoken(p)}")
        for place, p in zip(places, part.points, strict=True)
    )
    return Line(part.name, part.style, path, band, dots, spoken(part.points[-1]))
