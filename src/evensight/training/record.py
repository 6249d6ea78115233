"""The figures of one epoch, as `metrics.jsonl` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Record:
    """Figures by their fixed names; a figure of no image is left out of all three.

    `intervals` are (low, high, n), two-sided at the objective's confidence; `floors` are what chance alone gives a
    minimum or a gap (`metrics/floors.py`).
    """

    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    floors: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, value: float, interval: tuple[float, float, int] | None = None) -> None:
        """Adds a figure and, where it has one, its interval and number of images."""
        self.metrics[name] = float(value)
        if interval is not None:
            low, high, n = interval
            self.intervals[name] = (float(low), float(high), int(n))

    def update(self, other: Record) -> None:
        """Takes over all figures of another record."""
        self.metrics.update(other.metrics)
        self.intervals.update(other.intervals)
        self.floors.update(other.floors)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; what is not finite becomes null, since JSON has no word for it."""
        return {
            "metrics": _finite(self.metrics),
            "intervals": {name: [low, high, n] for name, (low, high, n) in self.intervals.items()},
            "floors": {name: dict(floor) for name, floor in self.floors.items()},
        }


def flat(records: Iterable[Record]) -> dict[str, float]:
    """Returns all figures by name, and for one with an interval ``<name>/low`` and ``<name>/high``."""
    found: dict[str, float] = {}
    for record in records:
        found.update(record.metrics)
        for name, (low, high, _) in record.intervals.items():
            found[f"{name}/low"], found[f"{name}/high"] = low, high
    return found


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
