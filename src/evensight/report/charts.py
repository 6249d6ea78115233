"""Geometry of the charts: axes with round ticks, dots with intervals. The templates draw them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from evensight.report.figures import Bar

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
    step = round_step((high - low) / count)
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


def number(value: float) -> str:
    """Writes a tick or a figure shortly: two decimals where they say something."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def round_step(raw: float) -> float:
    """Returns the step of 1, 2, 2.5 or 5 times a power of ten that is next above."""
    power = 10.0 ** math.floor(math.log10(max(raw, 1e-9)))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= raw - 1e-12)


def _ends(bars: Iterable[Bar]) -> list[float]:
    return [end for bar in bars for end in ((bar.low, bar.high) if bar.n else ())]
