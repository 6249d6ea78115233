"""Draws data sets from pools: rows by class and level, labels and attributes as a fault wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pools import Pool

from evensight.audit.data import AuditData, Scores
from evensight.objective.objective import Objective

Ints = NDArray[np.int64]
SPLIT_NAMES = ("train", "validation", "test")


def part_of(scores: Scores, rows: Ints) -> Scores:
    """Returns the scores of some rows, in their order."""
    return Scores(
        properties=scores.properties[rows],
        hashes=scores.hashes[rows],
        thumbnails=scores.thumbnails[rows],
        features={cue: values[rows] for cue, values in scores.features.items()},
        measured=scores.measured[rows],
    )


def counts_of(
    labels: Ints,
    attributes: Mapping[str, Ints],
    splits: NDArray[np.str_],
    num_classes: int,
    levels: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, Ints]]:
    """Returns images by split, class and level, as `AuditData.counts` has them."""
    found: dict[str, dict[str, Ints]] = {}
    for split in SPLIT_NAMES:
        here = (splits == split) & (labels >= 0)
        found[split] = {"overall": np.bincount(labels[here], minlength=num_classes).astype(np.int64)}
        for name, values in attributes.items():
            known = here & (values >= 0)
            table = np.bincount(
                labels[known] * len(levels[name]) + values[known], minlength=num_classes * len(levels[name])
            )
            found[split][name] = table.reshape(num_classes, len(levels[name])).astype(np.int64)
    return found


def audit_data(
    pool: Pool,
    rows: Ints,
    splits: NDArray[np.str_],
    objective: Objective,
    labels: Ints | None = None,
    attributes: Mapping[str, Ints] | None = None,
    levels: Mapping[str, tuple[str, ...]] | None = None,
    classes: tuple[str, ...] | None = None,
    annotations: pl.DataFrame | None = None,
) -> AuditData:
    """Returns rows of a pool as a data set.

    Args:
        pool: The pool.
        rows: Which `[n]`.
        splits: Of each `[n]`.
        objective: By whose requirements cues are judged.
        labels: Instead of the pool's `[n]`.
        attributes: Instead of the pool's, each `[n]`.
        levels: Of `attributes`.
        classes: Instead of the pool's.
        annotations: ``row`` (position), ``annotator``, ``label``.
    """
    labels = pool.labels[rows] if labels is None else labels
    levels = pool.levels if levels is None else levels
    classes = pool.classes if classes is None else classes
    attributes = {name: values[rows] for name, values in pool.attributes.items()} if attributes is None else attributes
    return AuditData(
        classes=classes,
        levels=levels,
        splits=splits,
        labels=labels,
        attributes=attributes,
        scores=part_of(pool.scores, rows),
        objective=objective,
        open_test=True,
        counts=counts_of(labels, attributes, splits, len(classes), levels),
        row_ids=[f"{pool.name}{row}#{turn}" for turn, row in enumerate(rows.tolist())],
        paths=[f"{row}.png" for row in rows.tolist()],
        annotations=annotations,
        usual={name: values for name, values in pool.usual.items() if name in attributes},
    )


def tied(
    pool: Pool, rng: np.random.Generator, attribute: str, correlation: float, num: int, taken: set[int] | None = None
) -> Ints:
    """Returns `num` rows, the classes alike, whose level is the class's own with chance `correlation`, else any alike.

    Args:
        pool: Has every class with every level.
        rng: Draws.
        attribute: The attribute that is tied.
        correlation: 0 to 1.
        num: Rows wanted.
        taken: Numbers of `pool.base` not to be used again; those drawn are added.
    """
    num_levels = len(pool.usual[attribute])  # as many as classes; a level beyond them (no mark) is not drawn
    label = np.arange(num) % len(pool.classes)
    own = np.asarray(pool.usual[attribute])[label]
    level = np.where(rng.random(num) < correlation, own, rng.integers(0, num_levels, num))
    return pick(pool, rng, label, {attribute: level}, taken)


def pick(
    pool: Pool, rng: np.random.Generator, label: Ints, wanted: Mapping[str, Ints], taken: set[int] | None = None
) -> Ints:
    """Returns a row for each wanted class and levels `[n]`, no base image twice.

    Raises:
        ValueError: The pool has too few images of a cell.
    """
    taken = set() if taken is None else taken
    order = rng.permutation(len(pool))
    by_cell: dict[tuple[int, ...], list[int]] = {}
    columns = [pool.labels, *(pool.attributes[name] for name in wanted)]
    for row, *cell in zip(order.tolist(), *(column[order].tolist() for column in columns), strict=True):
        by_cell.setdefault(tuple(cell), []).append(row)
    found = np.empty(len(label), np.int64)
    for at, cell in enumerate(zip(label.tolist(), *(values.tolist() for values in wanted.values()), strict=True)):
        rows = by_cell.get(cell, [])
        while rows and int(pool.base[rows[-1]]) in taken:
            rows.pop()
        if not rows:
            raise ValueError(f"pool {pool.name}: too few images of {cell}")
        found[at] = rows.pop()
        taken.add(int(pool.base[found[at]]))
    return found


def splits_of(num_train: int, num_validation: int, num_test: int) -> NDArray[np.str_]:
    """Returns the split of each row, training first."""
    return np.asarray(["train"] * num_train + ["validation"] * num_validation + ["test"] * num_test)
