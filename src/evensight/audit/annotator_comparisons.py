"""Who labels differently, and for whom: exact tests of each annotator against the others, within classes.

A label differs where it is not what the others say of the image. Every test compares images of the same class (by the
others' word), so that whoever gets more images of a hard class is not blamed for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evensight.audit.data import Ints
from evensight.metrics.hypergeometric import stratified_p
from evensight.metrics.multiplicity import holm_adjusted

# Fewer labels than this are not tested.
LEAST_LABELS = 10
# Annotators with most labels that are tested by group; of a crowd of thousands the rest have few each.
MOST_ANNOTATORS = 200


@dataclass(frozen=True)
class Differs:
    """One annotator, over all images or those of one group.

    Attributes:
        annotator: Position.
        attribute: Empty over all images.
        level: Position, -1 over all images.
        x: Labels that are not what the others say.
        n: Labels.
        elsewhere: Their rate on the annotator's other images; NaN over all images.
        others: Rate of the other annotators on the same kind of images, as if they had the same classes.
        p: That both comparisons are chance, corrected for all that were made.
    """

    annotator: int
    attribute: str
    level: int
    x: int
    n: int
    elsewhere: float
    others: float
    p: float

    @property
    def rate(self) -> float:
        """Share of labels that differ."""
        return self.x / self.n

    @property
    def excess(self) -> float:
        """By how much the rate is above that of the others, and where there is one above that elsewhere."""
        return self.rate - max(value for value in (self.others, self.elsewhere, 0.0) if np.isfinite(value))


def by_annotator(annotator: Ints, said: Ints, differs: NDArray[np.bool_], num_annotators: int) -> list[Differs]:
    """Tests each annotator against all others.

    Args:
        annotator: `[F]` of each label.
        said: `[F]` what the others say; no label with -1.
        differs: bool `[F]`.
        num_annotators: A.
    """
    num_classes = int(said.max(initial=0)) + 1
    n = _table(annotator * num_classes + said, None, (num_annotators, num_classes))
    x = _table(annotator * num_classes + said, differs, (num_annotators, num_classes))
    all_n, all_x = n.sum(axis=0), x.sum(axis=0)
    tested = [a for a in range(num_annotators) if n[a].sum() >= LEAST_LABELS]
    p = [_more(x[a], n[a], all_x, all_n) for a in tested]
    others = [_expected(n[a], all_x - x[a], all_n - n[a]) for a in tested]
    return [
        Differs(a, "", -1, int(x[a].sum()), int(n[a].sum()), float("nan"), other, float(each))
        for a, other, each in zip(tested, others, holm_adjusted(p), strict=True)
    ]


def by_group(
    annotator: Ints,
    said: Ints,
    differs: NDArray[np.bool_],
    attributes: Mapping[str, tuple[Ints, int]],
    num_annotators: int,
) -> list[Differs]:
    """Tests each annotator on each level of each attribute, corrected over all of them.

    An annotator labels a group differently where more of its labels differ there than on its other images, and more
    than those of the others on the same group. The larger of the two p-values counts: a hard group, or one annotator
    who is poor everywhere, is neither.

    Args:
        annotator: `[F]` of each label.
        said: `[F]` what the others say.
        differs: bool `[F]`.
        attributes: Name -> level of each label's image `[F]`, -1 where unknown, and how many levels there are.
        num_annotators: A.
    """
    busiest = np.argsort(-np.bincount(annotator, minlength=num_annotators), kind="stable")[:MOST_ANNOTATORS]
    place = np.full(num_annotators, busiest.size, dtype=np.int64)  # the rest are others, and not tested
    place[busiest] = np.arange(busiest.size)
    who, num_classes = place[annotator], int(said.max(initial=0)) + 1
    found: list[Differs] = []
    for name, (levels, num_levels) in attributes.items():
        known = levels >= 0
        shape = (busiest.size + 1, num_levels, num_classes)
        flat = (who[known] * num_levels + levels[known]) * num_classes + said[known]
        n, x = _table(flat, None, shape), _table(flat, differs[known], shape)
        for at in range(busiest.size):
            enough = [level for level in range(num_levels) if _enough(n, at, level)]
            found += [_one(int(busiest[at]), name, level, x, n, at) for level in enough]
    p = holm_adjusted([each.p for each in found])
    return [replace(each, p=float(one)) for each, one in zip(found, p, strict=True)]


def groups_apart(
    differs: NDArray[np.bool_], said: Ints, attributes: Mapping[str, tuple[Ints, int]]
) -> list[tuple[str, int, int, int, float, float]]:
    """Tests whether annotators disagree more on the images of a group than on others of the same class.

    Args:
        differs: bool `[N]`, whether a random pair of labels of the image disagrees.
        said: `[N]` its consensus.
        attributes: Name -> level of each image `[N]`, -1 where unknown, and how many levels there are.

    Returns:
        Attribute, level, disagreements, images, the rate of others of the same classes, and the corrected p.
    """
    num_classes = int(said.max(initial=0)) + 1
    found, p = [], []
    for name, (levels, num_levels) in attributes.items():
        known = levels >= 0
        shape = (num_levels, num_classes)
        flat = levels[known] * num_classes + said[known]
        n, x = _table(flat, None, shape), _table(flat, differs[known], shape)
        all_n, all_x = n.sum(axis=0), x.sum(axis=0)
        for level in range(num_levels):
            if n[level].sum() >= LEAST_LABELS and n[level].sum() < all_n.sum():
                rest = _expected(n[level], all_x - x[level], all_n - n[level])
                found.append((name, level, int(x[level].sum()), int(n[level].sum()), rest))
                p.append(_more(x[level], n[level], all_x, all_n))
    return [(*each, float(one)) for each, one in zip(found, holm_adjusted(p), strict=True)]


def _one(annotator: int, attribute: str, level: int, x: Ints, n: Ints, at: int) -> Differs:
    here_x, here_n = x[at, level], n[at, level]
    mine_x, mine_n = x[at].sum(axis=0), n[at].sum(axis=0)
    group_x, group_n = x[:, level].sum(axis=0), n[:, level].sum(axis=0)
    return Differs(
        annotator=annotator,
        attribute=attribute,
        level=level,
        x=int(here_x.sum()),
        n=int(here_n.sum()),
        elsewhere=_expected(here_n, mine_x - here_x, mine_n - here_n),
        others=_expected(here_n, group_x - here_x, group_n - here_n),
        p=max(_more(here_x, here_n, mine_x, mine_n), _more(here_x, here_n, group_x, group_n)),
    )


def _enough(n: Ints, at: int, level: int) -> bool:
    here = n[at, level].sum()
    return bool(here >= LEAST_LABELS and here < n[at].sum() and here < n[:, level].sum())


def _more(x: Ints, n: Ints, all_x: Ints, all_n: Ints) -> float:
    """Returns the chance of as many; 1 where there are no more than expected, which need not be worked out."""
    expected = (n * all_x / np.maximum(all_n, 1)).sum()
    return stratified_p(int(x.sum()), all_n, all_x, n) if x.sum() > expected else 1.0


def _expected(n: Ints, rest_x: Ints, rest_n: Ints) -> float:
    """Returns the rate of the rest, weighted to the classes of these labels where the rest has them."""
    there = (rest_n > 0) & (n > 0)
    if not there.any():
        return float("nan")
    return float((n[there] * rest_x[there] / rest_n[there]).sum() / n[there].sum())


def _table(flat: Ints, marked: NDArray[np.bool_] | None, shape: Sequence[int]) -> Ints:
    chosen = flat if marked is None else flat[marked]
    return np.bincount(chosen, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64)
