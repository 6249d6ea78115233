"""Which level of an attribute is the usual one of a class, and how a model decides images that conflict with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

NUM_PERMUTATIONS = 999
SIGNIFICANCE = 0.01
NO_LEVEL = -1  # of a class of which no image has a known level


def usual_levels(
    labels: NDArray[Any],
    levels: NDArray[Any],
    num_classes: int,
    num_levels: int,
    declared: Sequence[int] | None = None,
    seed: int = 0,
) -> tuple[int, ...] | None:
    """Returns the usual level of each class, by which images are aligned or conflicting.

    Args:
        labels: Class of each training image [N].
        levels: Level of each training image [N], -1 where unknown; such images say nothing.
        num_classes: K.
        num_levels: L.
        declared: What the data set itself says, which wins.
        seed: Of the permutations.

    Returns:
        A level per class, the most frequent one, the first among equals; `NO_LEVEL` for a class without a known level.
        None where attribute and class are not associated beyond chance (p >= .01 by permutation).

    Raises:
        ValueError: If the declared table does not give one level per class.
    """
    if declared is not None:
        if len(declared) != num_classes or not all(NO_LEVEL <= level < num_levels for level in declared):
            raise ValueError(
                f"usual levels: {list(declared)} is not one of {num_levels} levels for {num_classes} classes"
            )
        return tuple(int(level) for level in declared)
    known = levels >= 0
    flat = np.asarray(labels)[known].astype(np.int64) * num_levels + np.asarray(levels)[known]
    return usual_of_table(np.bincount(flat, minlength=num_classes * num_levels).reshape(num_classes, num_levels), seed)


def usual_of_table(table: NDArray[Any], seed: int = 0) -> tuple[int, ...] | None:
    """Returns the usual level of each class as `usual_levels` does, from training images by class and level [K, L]."""
    if association_p(table, seed) >= SIGNIFICANCE:
        return None
    return tuple(int(row.argmax()) if row.any() else NO_LEVEL for row in table)


def association_p(table: NDArray[Any], seed: int = 0) -> float:
    """Returns the permutation p-value of independence of the rows and columns of a table of counts [K, L].

    The statistic is chi-squared. Tables are drawn with both margins fixed, which is what permuting images does, at a
    cost that does not grow with the number of images.
    """
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    if min(table.shape) < 2:
        return 1.0
    rows, columns = table.sum(1), table.sum(0)
    expected = np.outer(rows, columns) / table.sum()
    drawn = stats.random_table(rows, columns).rvs(NUM_PERMUTATIONS, random_state=np.random.default_rng(seed))
    statistic = ((table - expected) ** 2 / expected).sum()
    chance = ((drawn - expected) ** 2 / expected).sum(axis=(1, 2))
    # Sums of the same terms in another order may differ in the last bit: a tie counts as reached.
    return float((1 + (chance >= statistic * (1 - 1e-12)).sum()) / (1 + NUM_PERMUTATIONS))


def conflicts(levels: NDArray[Any], labels: NDArray[Any], usual: Sequence[int]) -> NDArray[np.bool_]:
    """Returns which images [N] carry a known level that is not the usual one of their class."""
    expected = np.asarray(usual)[labels]
    return np.asarray((levels >= 0) & (expected >= 0) & (levels != expected))


def decided_by_attribute(histogram: NDArray[Any], usual: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Counts the conflicting images that are given a class whose usual level they carry.

    Args:
        histogram: level x true class x prediction, [..., L, K, K].
        usual: Level per class [K].

    Returns:
        Those images [...], and all conflicting images [...].
    """
    table = np.asarray(usual)
    carried = np.arange(histogram.shape[-3])[:, None] == table[None, :]  # [L, K]: the level is the class's usual one
    against = ~carried & (table >= 0)[None, :]
    followed = against[:, :, None] & carried[:, None, :]  # [L, true class, prediction]
    return (histogram * followed).sum((-1, -2, -3)), (histogram.sum(-1) * against).sum((-1, -2))
