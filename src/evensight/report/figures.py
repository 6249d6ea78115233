"""The figures of a report, counted from the table of predictions; each with its interval and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.metrics.intervals import clopper_pearson
from evensight.metrics.paired import tango_interval

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bar:
    """A figure with its bounds (each errs at most alpha on its side); no estimate where there are no images."""

    name: str
    estimate: float | None
    low: float
    high: float
    n: int
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A field of a heat map."""

    bar: Bar
    marked: bool  # a class at its usual level


@dataclass(frozen=True)
class RelianceFigures:
    """Reliance on a cue by one operator: overall, by true class, and the two shares it is the difference of."""

    cue: str
    operator: str
    overall: Bar
    by_class: list[Bar]
    transplant: float
    placebo: float


def rate(name: str, x: int, n: int, alpha: float, note: str = "") -> Bar:
    """Returns x of n as a figure, Clopper-Pearson."""
    low, high = clopper_pearson(x, n, alpha)
    return Bar(name, x / n if n else None, float(low), float(high), n, note)


def decided(predictions: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows of images that could be decoded."""
    return predictions.filter(pl.col("prediction") >= 0)


def confusion(table: pl.DataFrame, num_classes: int) -> Ints:
    """Returns images by true class and prediction `[K, K]`."""
    pairs = table["label"].to_numpy() * num_classes + table["prediction"].to_numpy()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def recall(counts: Ints, classes: Sequence[str], alpha: float) -> list[Bar]:
    """Returns the recall of each class."""
    right, images = np.diagonal(counts), counts.sum(axis=1)
    return [rate(name, int(right[k]), int(images[k]), alpha) for k, name in enumerate(classes)]


def precision(counts: Ints, classes: Sequence[str], alpha: float) -> list[Bar]:
    """Returns the precision of each class; its images are those predicted as it."""
    right, images = np.diagonal(counts), counts.sum(axis=0)
    return [rate(name, int(right[k]), int(images[k]), alpha) for k, name in enumerate(classes)]


def groups(table: pl.DataFrame, attribute: str, levels: Sequence[str], alpha: float) -> list[Bar]:
    """Returns the accuracy of each level of an attribute."""
    level, right = _level(table, attribute), (table["label"] == table["prediction"]).to_numpy()
    return [
        rate(name, int(right[level == index].sum()), int((level == index).sum()), alpha)
        for index, name in enumerate(levels)
    ]


def cells(
    table: pl.DataFrame,
    attribute: str,
    classes: Sequence[str],
    levels: Sequence[str],
    usual: Sequence[int] | None,
    alpha: float,
) -> list[list[Cell]]:
    """Returns the accuracy of each class (rows) at each level (columns)."""
    level, label = _level(table, attribute), table["label"].to_numpy()
    right = (table["label"] == table["prediction"]).to_numpy()
    rows = []
    for k, name in enumerate(classes):
        row = []
        for index, level_name in enumerate(levels):
            here = (label == k) & (level == index)
            bar = rate(f"{name} x {level_name}", int(right[here].sum()), int(here.sum()), alpha)
            row.append(Cell(bar, usual is not None and usual[k] == index))
        rows.append(row)
    return rows


def aligned(table: pl.DataFrame, attribute: str, usual: Sequence[int], alpha: float) -> list[Bar]:
    """Returns accuracy where the class has its usual level, and where it has another."""
    level, label = _level(table, attribute), table["label"].to_numpy()
    right, own = (table["label"] == table["prediction"]).to_numpy(), np.asarray(usual)[label]
    kinds = {
        f"aligned: the class's usual {attribute}": level == own,
        f"conflicting: another {attribute}": (level >= 0) & (level != own),
    }
    return [rate(name, int(right[here].sum()), int(here.sum()), alpha) for name, here in kinds.items()]


def rivals(table: pl.DataFrame, alpha: float) -> list[Bar]:
    """Returns the model's accuracy beside that of every rival in the table, the strongest rival first."""
    named = {"majority": "always the largest class"}
    bars = []
    for column in (name for name in table.columns if name.startswith("rival:")):
        rival = column.removeprefix("rival:")
        x = int((table[column] == table["label"]).sum())
        bars.append(rate(named.get(rival, f"a linear model that sees {rival} alone"), x, table.height, alpha))
    bars.sort(key=lambda bar: -(bar.estimate or 0.0))
    return [rate("this model", int((table["prediction"] == table["label"]).sum()), table.height, alpha), *bars]


def reliance(table: pl.DataFrame, classes: Sequence[str], alpha: float) -> list[RelianceFigures]:
    """Returns reliance by every cue and operator in the table, the largest of each cue first (it counts)."""
    found = []
    for column in table.columns:
        match column.split(":"):
            case ["reliance", cue, operator, "transplant"]:
                found.append(_reliance(table, cue, operator, classes, alpha))
    return sorted(found, key=lambda part: (part.cue, -(part.overall.estimate or 0.0)))


def confusions(counts: Ints, classes: Sequence[str], alpha: float, most: int = 10) -> list[Bar]:
    """Returns the most frequent confusions, as shares of the true class."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(classes)) for place in order if wrong.flat[place]]
    images = counts.sum(axis=1)
    return [
        rate(f"{classes[i]} taken for {classes[j]}", int(wrong[i, j]), int(images[i]), alpha, f"{wrong[i, j]:,} images")
        for i, j in pairs
    ]


def usual_counts(levels: Mapping[str, Sequence[str]], usual: Mapping[str, Sequence[int]]) -> list[str]:
    """Returns the attributes, those with a table of usual levels first: they are what a model may learn instead."""
    return sorted(levels, key=lambda name: name not in usual)


def _reliance(table: pl.DataFrame, cue: str, operator: str, classes: Sequence[str], alpha: float) -> RelianceFigures:
    measured = table.drop_nulls(f"reliance:{cue}:{operator}:transplant")
    moved = measured[f"reliance:{cue}:{operator}:transplant"].to_numpy()
    placebo = measured[f"reliance:{cue}:{operator}:placebo"].to_numpy()
    label = measured["label"].to_numpy()

    def bar(name: str, here: NDArray[np.bool_]) -> Bar:
        n = int(here.sum())
        first, second = int((moved & ~placebo & here).sum()), int((placebo & ~moved & here).sum())
        low, high = tango_interval(first, second, n, alpha)
        return Bar(name, (first - second) / n if n else None, float(low), float(high), n)

    count = max(1, measured.height)
    everything = np.ones(measured.height, dtype=np.bool_)
    by_class = [bar(name, label == k) for k, name in enumerate(classes)]
    overall = bar(operator, everything)
    return RelianceFigures(cue, operator, overall, by_class, float(moved.sum() / count), float(placebo.sum() / count))


def _level(table: pl.DataFrame, attribute: str) -> Ints:
    level: Ints = table[f"attribute:{attribute}"].to_numpy()
    return level
