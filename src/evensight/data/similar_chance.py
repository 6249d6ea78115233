"""How alike two different images of a data set are by chance: what a pair must beat to be a copy.

The number of other images within a difference r of an image grows as a power of r (Levina and Bickel 2004), with a
scale of its own for each image: a handwritten 1 has many that are nearly its double, an 8 few. The power and the
scales are read from the second to sixth nearest image, which one copy does not touch; limits are then set so that two
pairs a data set are expected by chance (an a-contrario test: Desolneux, Moisan and Morel 2000). That is more than
happens: at small differences the power grows, as no two images share their noise. Of three times 10,000 digits of
MNIST no pair passed, nor where four were expected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

EXPECTED = 2.0  # pairs of different images taken for copies, of a whole data set
_RANK = 6  # which neighbour tells the scale of an image; up to five copies do not touch it
_FEW = 30  # images with that many neighbours, below which nothing is crowded
_CROWDED = 300  # images, the most crowded, that the power is read from; 3 % where those are more


def limits(pairs: Ints, left: Floats, num: int, low: float, high: float, furthest: float) -> Doubles:
    """Returns for each image the difference below which a pair is a copy `[num]`, between `low` and `high`.

    Args:
        pairs: Positions of pairs looked at, `[M, 2]`, each once, any order.
        left: What is left over of each (`similar_align.Alignment`) `[M]`; 1 where it is out of the question.
        num: Images N.
        low: A pair nearer than this is a copy in any data set.
        high: A pair further than this is none in any data set.
        furthest: Differences below this were looked at; others count as none.
    """
    nearest, count = _nearest(pairs, left, num, furthest)
    known = count >= _RANK
    if int(known.sum()) < _FEW:
        return np.full(num, high)
    power = _power(nearest[known])
    # Of an image with fewer neighbours it is known that the sixth is no nearer than what was looked at.
    scale = np.where(known, nearest[:, -1], furthest)
    # Many copies of one image are no crowd of alike ones.
    scale = np.maximum(scale, np.quantile(scale[known], 0.1) / 3)
    chance = np.maximum(np.minimum(count, _RANK) - 1, 0) / scale**power  # other images within r: chance x r ** power
    return np.clip(_shared(chance, scale, power), low, high)


def _nearest(pairs: Ints, left: Floats, num: int, furthest: float) -> tuple[Doubles, Ints]:
    """Returns the `_RANK` least differences of each image, infinite where there are fewer, and how many there are."""
    near = left < furthest
    image = np.concatenate([pairs[near, 0], pairs[near, 1]])
    difference = np.concatenate([left[near], left[near]]).astype(np.float64)
    order = np.lexsort((difference, image))
    image, difference = image[order], difference[order]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    nearest = np.full((num, _RANK), np.inf)
    kept = rank < _RANK
    nearest[image[kept], rank[kept]] = np.maximum(difference[kept], 1e-7)
    return nearest, np.bincount(image, minlength=num)


def _power(nearest: Doubles) -> float:
    """The power from spacings of the most crowded images: j log(r[j+1] / r[j]) has the mean 1 / power (Renyi 1953)."""
    crowded = nearest[np.argsort(nearest[:, -1], kind="stable")[: max(_CROWDED, len(nearest) // 33)]]
    ranks = np.arange(2, _RANK)
    spacings = ranks * np.log(crowded[:, 2:] / crowded[:, 1:-1])
    return float(np.clip(1 / max(float(spacings.mean()), 1e-6), 1.0, 8.0))


def _shared(chance: Doubles, scale: Doubles, power: float) -> Doubles:
    """Shares the pairs expected by chance among the images: the limit of each is a x the square root of its scale.

    A limit common to all would leave nothing to images far from others; one in proportion to the scale, nothing to
    the crowded.
    """
    shape = np.sqrt(scale)
    expected = 0.5 * float((chance * shape**power).sum())
    limit: Doubles = shape * (EXPECTED / expected) ** (1 / power)
    return limit
