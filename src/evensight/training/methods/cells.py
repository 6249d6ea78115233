"""Cells, (class, level of an attribute), and what follows from how many images each has: pure functions.

A table of counts is `[K, L + 1]`: a row a class, a column a level, and the last column for images whose level is
unknown, so that they have a cell of their own in each class. A cell's number runs along the rows, so no two pairs share
one whatever K and L are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evensight.training.methods.base import DataFacts

Counts = NDArray[np.float64]
Numbers = TypeVar("Numbers", Tensor, NDArray[np.int64])

OVER = ("class", "group", "cell")


def cell_index(label: Numbers, level: Numbers, num_levels: int) -> Numbers:
    """Returns the number of each image's cell `[B]`, from 0 to K * (L + 1) - 1.

    Args:
        label: Class `[B]`.
        level: `[B]`, -1 where unknown.
        num_levels: L.
    """
    # -1 modulo L + 1 is L, in numpy and torch alike: the last column.
    return label * (num_levels + 1) + level % (num_levels + 1)


def count_table(label: NDArray[np.int64], level: NDArray[np.int64], num_classes: int, num_levels: int) -> Counts:
    """Returns how many images each cell has `[K, L + 1]`, from class and level of each image."""
    cells = cell_index(label, level, num_levels)
    counts = np.bincount(cells, minlength=num_classes * (num_levels + 1))
    return counts.reshape(num_classes, num_levels + 1).astype(np.float64)


def cell_counts(facts: DataFacts, attribute: str) -> Counts:
    """Returns how many training images each cell of an attribute has `[K, L + 1]`."""
    known = np.asarray(facts.cells[attribute], np.float64).reshape(len(facts.class_counts), facts.levels[attribute])
    unknown = np.asarray(facts.class_counts, np.float64) - known.sum(axis=1)
    return np.column_stack([known, np.maximum(unknown, 0)])


def even_shares(counts: Counts, over: str) -> Counts:
    """Returns the share of the draws that each cell gets `[K, L + 1]`, which sum to 1; an empty one gets none.

    - ``class``: all classes alike, and within a class its cells as the data has them.
    - ``group``: all levels alike, and within a level its classes as the data has them.
    - ``cell``: all classes alike, and within a class all levels of which it has images alike. A level that a class has
      no image of is shared out to the class's other levels: nothing can be drawn from it.

    Only what has images takes part. Images of unknown level are no level of their own: they keep the share of their
    class (of the data for ``group``) that they have.

    Args:
        counts: Images of each cell, at least one of them above 0.
        over: One of `OVER`.
    """
    total, of_class = counts.sum(), counts.sum(axis=1, keepdims=True)
    known, unknown = counts[:, :-1], counts[:, -1:]
    if over == "group":
        of_level = known.sum(axis=0, keepdims=True)
        shares = _alike(of_level) * _ratio(known, of_level) * known.sum() / total
        return np.column_stack([shares, unknown / total])
    if over == "class":
        return _alike(of_class) * _ratio(counts, of_class)
    within = _alike(known, axis=1) * _ratio(known.sum(axis=1, keepdims=True), of_class)
    return _alike(of_class) * np.column_stack([within, _ratio(unknown, of_class)])


def matched_shares(counts: Counts) -> Counts:
    """Returns shares `[K, L + 1]` under which every class has the levels that all images have, so that none tells it.

    All classes get alike. Within a class a level gets its share of all images of known level; a level that the class
    has no image of is shared out in proportion, and images of unknown level keep their share of the class.

    Args:
        counts: Images of each cell, at least one of them above 0.
    """
    of_class = counts.sum(axis=1, keepdims=True)
    known = counts[:, :-1]
    wanted = known.sum(axis=0, keepdims=True) * (known > 0)
    within = _ratio(wanted, wanted.sum(axis=1, keepdims=True)) * _ratio(known.sum(axis=1, keepdims=True), of_class)
    return _alike(of_class) * np.column_stack([within, _ratio(counts[:, -1:], of_class)])


def sampling_weights(
    label: NDArray[np.int64],
    level: NDArray[np.int64],
    trained: NDArray[np.bool_],
    shape: tuple[int, int],
    shares: Callable[[Counts], Counts],
) -> NDArray[np.float64]:
    """Returns the weights `[N]` under which images are drawn so that their cells get their shares.

    Every image that training uses has a weight above 0, the others have 0.

    Args:
        label: Class of each image `[N]`.
        level: `[N]`, -1 where unknown.
        trained: Which images training uses `[N]`.
        shape: (K, L).
        shares: Gives the share of each cell from the images that it has.
    """
    counts = count_table(label[trained], level[trained], *shape)
    cells = cell_index(label[trained], level[trained], shape[1])
    weights = np.zeros(len(label))
    weights[trained] = image_weights(shares(counts), counts, cells)
    return weights


def image_weights(shares: Counts, counts: Counts, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the weight of each image `[N]` under which the cells are drawn by their shares.

    Args:
        shares: Of the draws, of each cell `[K, L + 1]`.
        counts: Images of each cell `[K, L + 1]`.
        cells: Number of each image's cell `[N]`.
    """
    weights: NDArray[np.float64] = _ratio(shares, counts).reshape(-1)[cells]
    return weights


def log_prior(counts: Counts, smoothing: float, label_smoothing: float = 0.0) -> NDArray[np.float64]:
    """Returns log p(class | level) `[K, L + 1]`, that of unknown level in the last column.

    Args:
        counts: Images of each cell.
        smoothing: Images that are added to each cell, above 0, so that an empty one has a chance above 0 too.
        label_smoothing: Share of an image that counts for all classes alike, as in the targets of the loss.
    """
    smooth = counts + smoothing
    prior = smooth / smooth.sum(axis=0, keepdims=True)
    logarithm: NDArray[np.float64] = np.log((1 - label_smoothing) * prior + label_smoothing / len(prior))
    return logarithm


def _alike(counts: Counts, axis: int | None = None) -> Counts:
    """1 over the number of those with images, for each that has some; 0 for the others."""
    some = counts > 0
    return _ratio(some.astype(np.float64), some.sum(axis=axis, keepdims=True).astype(np.float64))


def _ratio(part: Counts, whole: Counts) -> Counts:
    """Part / whole, 0 where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
