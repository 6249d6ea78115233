"""Figures of counts: per class, group and cell, the worst, the gap, each with its interval, its n and its chance floor.

Pure functions of confusion counts (true class x prediction, overall and by attribute level); no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.metrics import floors, intervals
from evensight.training.record import Record

Array = NDArray[Any]

# Permutations behind the floor of an epoch: 1,000 take 10 ms an attribute and place its 5 % point within a tenth of it.
_DRAWS = 1000


@dataclass(frozen=True)
class Part:
    """A class or a group against all other images."""

    name: str  # "class star", "colour=red"
    x: int  # correct images
    n: int


def figures(
    overall: Array,
    by_attribute: Mapping[str, Array],
    classes: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    usual: Mapping[str, Sequence[int]],
    confidence: float = 0.95,
    prefix: str = "val",
) -> Record:
    """Returns every figure of an epoch that follows from counts.

    Intervals are two-sided at `confidence`: Clopper-Pearson for rates, its square-and-add for a gap. A minimum has the
    interval of the class, group or cell it is of; a gap that of its two groups, and their images as n.

    Args:
        overall: `[K, K]` images by true class and prediction.
        by_attribute: Attribute to `[L, K, K]`.
        classes: K names.
        levels: Attribute to its L names.
        usual: Attribute to the index of each class's usual level `[K]`; without it there is no conflicting accuracy.
        confidence: Of the intervals.
        prefix: First part of every name.
    """
    record, tail = Record(), (1 - confidence) / 2
    _class_figures(record, prefix, overall, classes, tail)
    for attribute, table in by_attribute.items():
        _group_figures(record, prefix, attribute, table, levels[attribute], tail)
        if attribute in usual:
            x, n = conflicting_counts(table, usual[attribute])
            _add_rates(record, [f"{prefix}/conflicting_accuracy/{attribute}"], np.array([x]), np.array([n]), tail)
    return record


def conflicting_counts(table: Array, usual: Sequence[int]) -> tuple[int, int]:
    """Returns correct images and images whose level is not their class's usual one, from `[L, K, K]`."""
    x, n = cells(table)
    conflicting = np.arange(table.shape[0])[:, None] != np.asarray(usual)[None, :]
    return int(x[conflicting].sum()), int(n[conflicting].sum())


def cells(table: Array) -> tuple[Array, Array]:
    """Returns correct images and images of each level and class, `[L, K]` each, from `[L, K, K]`."""
    return np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-1)


def parts_behind(
    overall: Array,
    by_attribute: Mapping[str, Array],
    classes: Sequence[str],
    levels: Mapping[str, Sequence[str]],
    level: float,
) -> list[tuple[str, str]]:
    """Finds the classes and groups that are significantly behind all other images.

    Args:
        overall: `[K, K]` images by true class and prediction.
        by_attribute: Attribute to `[L, K, K]`.
        classes: K names.
        levels: Attribute to its L names.
        level: Error of all looks together; each part is tested at `level` / number of parts.

    Returns:
        (name, sentence) pairs of the parts whose difference to the rest has a lower bound above 0.
    """
    families = list(_families(overall, by_attribute, classes, levels))
    num_parts = sum(len(family) for family in families)
    found = []
    for family in families:
        total_x, total_n = sum(part.x for part in family), sum(part.n for part in family)
        x, n = np.array([part.x for part in family]), np.array([part.n for part in family])
        low, _ = intervals.mover_clopper_pearson(total_x - x, total_n - n, x, n, level / num_parts)
        for part, bound in zip(family, low, strict=True):
            if bound > 0:
                rest = (total_x - part.x) / (total_n - part.n)
                sentence = f"{part.name}, accuracy {part.x / part.n:.3f} (n = {part.n}), the rest {rest:.3f}"
                found.append((part.name, sentence))
    return found


def _families(
    overall: Array, by_attribute: Mapping[str, Array], classes: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> Iterator[list[Part]]:
    x, n = np.diagonal(overall), overall.sum(axis=1)
    yield [Part(f"class {name}", int(x[k]), int(n[k])) for k, name in enumerate(classes)]
    for attribute, table in by_attribute.items():
        right, images = (part.sum(axis=1) for part in cells(table))
        yield [Part(f"{attribute}={name}", int(right[i]), int(images[i])) for i, name in enumerate(levels[attribute])]


def _class_figures(record: Record, prefix: str, overall: Array, classes: Sequence[str], tail: float) -> None:
    right, images, predicted = np.diagonal(overall), overall.sum(axis=1), overall.sum(axis=0)
    _add_rates(record, [f"{prefix}/accuracy"], right.sum(keepdims=True), images.sum(keepdims=True), tail)
    _add_rates(record, [f"{prefix}/recall/{name}" for name in classes], right, images, tail)
    _add_rates(record, [f"{prefix}/precision/{name}" for name in classes], right, predicted, tail)
    # F1 = 2J/(1+J), and J = TP/(TP+FP+FN) is a rate given its denominator.
    union = images + predicted - right
    low, high = intervals.clopper_pearson(right, union, tail)
    for k, name in enumerate(classes):
        if union[k] > 0:
            f1 = 2 * right[k] / (images[k] + predicted[k])
            record.add(f"{prefix}/f1/{name}", f1, (_f1(low[k]), _f1(high[k]), union[k]))
    _add_worst(record, f"{prefix}/worst_class_recall", right, images, tail)


def _group_figures(
    record: Record, prefix: str, attribute: str, table: Array, levels: Sequence[str], tail: float
) -> None:
    cell_x, cell_n = cells(table)
    x, n = cell_x.sum(axis=1), cell_n.sum(axis=1)
    _add_rates(record, [f"{prefix}/group_accuracy/{attribute}/{name}" for name in levels], x, n, tail)
    _add_worst(record, f"{prefix}/worst_cell_accuracy/{attribute}", cell_x.ravel(), cell_n.ravel(), tail)
    worst = f"{prefix}/worst_group_accuracy/{attribute}"
    _add_worst(record, worst, x, n, tail)
    seen = n > 0
    if seen.sum() < 2:
        return
    rate = np.where(seen, x / np.maximum(n, 1), np.nan)
    best, last = int(np.nanargmax(rate)), int(np.nanargmin(rate))
    low, high = intervals.mover_clopper_pearson(x[best], n[best], x[last], n[last], tail)
    gap = f"{prefix}/gap/{attribute}"
    record.add(gap, rate[best] - rate[last], (float(low), float(high), n[best] + n[last]))
    # Classes may differ, so each class keeps its successes and the levels are permuted within it.
    by_class = cell_x[seen].T, cell_n[seen].T  # [K, G]
    record.floors[worst] = _floor(floors.permuted_floor(*by_class, gap=False, draws=_DRAWS))
    record.floors[gap] = _floor(floors.permuted_floor(*by_class, gap=True, draws=_DRAWS))


def _add_rates(record: Record, names: Sequence[str], x: Array, n: Array, tail: float) -> None:
    low, high = intervals.clopper_pearson(x, n, tail)
    for i, name in enumerate(names):
        if n[i] > 0:
            record.add(name, x[i] / n[i], (low[i], high[i], n[i]))


def _add_worst(record: Record, name: str, x: Array, n: Array, tail: float) -> None:
    """Adds the least of several rates; among equals the one of most images, whose interval says most."""
    seen = n > 0
    if not seen.any():
        return
    x, n = x[seen], n[seen]
    worst = int(np.lexsort((-n, x / n))[0])
    _add_rates(record, [name], x[[worst]], n[[worst]], tail)
    if len(n) > 1:
        record.floors.setdefault(name, _floor(floors.worst_floor(n, x.sum() / n.sum())))


def _f1(jaccard: float) -> float:
    return float(2 * jaccard / (1 + jaccard))


def _floor(found: tuple[float, float]) -> dict[str, float]:
    return {"mean": found[0], "quantile": found[1]}
