"""Deep feature reweighting: the last layer is fitted anew on images that are balanced over the groups.

Kirichenko, Izmailov, Wilson: Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations (ICLR 2023).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evensight.training.methods.base import DataFacts
from evensight.training.methods.cells import cell_index, count_table, even_shares
from evensight.training.methods.grouped import attribute_named
from evensight.training.methods.last_layer import Embedded, LastLayer
from evensight.training.methods.linear_head import Array, Head, Scale, cross_entropy, fit_head
from evensight.training.task import SingleLabel

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest

log = logging.getLogger(__name__)

Ints = NDArray[np.int64]
# 1 / C of the paper's logistic regression, from 0.01 to 1, and one weaker for few images.
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class DFR(LastLayer):
    """Told the groups: each class and level of `attribute` that has images counts alike.

    As in the paper, the features are standardised, several balanced subsets are drawn, the penalty is chosen on one
    half of the images by a fit on the other, and the layers fitted on the subsets are averaged. A subset is drawn
    without replacement, as by the authors' code: no image is in it twice. Unlike there, a cell with fewer images than
    `cell_images` does not cut the others down to its number: it is used whole and its images weigh more (with
    `cell_images` of 1 every cell has as many images as the smallest, as there); an empty cell, which leaves them with
    no image at all, is passed over, and its class's other cells weigh more; and the penalty is chosen by the mean loss
    over cells and not by the worst cell, which a cell of three images would decide. The bias has no penalty.

    Options of its own beside those of `LastLayer`:

    - `attribute`: whose levels are the groups; null takes `facts.default_attribute`
    - `penalty`: ``l1`` (the paper's for images) or ``l2``
    - `strength`: of the penalty, divided by the number of images in a subset: 1 / C of scikit-learn; null: chosen from
      `STRENGTHS`
    - `num_subsets`: balanced subsets
    - `cell_images`: see above
    """

    allowed = (*LastLayer.allowed, "attribute", "penalty", "strength", "num_subsets", "cell_images")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.attribute = attribute_named(facts, options.get("attribute"))
        self.num_levels = facts.levels[self.attribute]
        self._column = list(facts.levels).index(self.attribute)
        self.penalty = str(options.get("penalty", "l1"))
        given = options.get("strength")
        self.strength = None if given is None else float(given)
        self.num_subsets = int(options.get("num_subsets", 10))
        self.cell_images = int(options.get("cell_images", 20))

    def strata(self, manifest: Manifest) -> Ints:
        """Returns the cell of each training image `[N]`."""
        level = manifest.attributes("train")[:, self._column]
        return cell_index(manifest.labels("train"), level, self.num_levels)

    def solve(self, images: Embedded, head: Head) -> Head:
        """Returns the mean of the layers that were fitted on balanced subsets."""
        scale = Scale.of(images.features)
        features, start = scale.standardised(images.features), scale.unfolded(head)
        shape = (len(head.bias), self.num_levels)
        level = images.attributes[:, self._column]
        cells, counts = cell_index(images.label, level, self.num_levels), count_table(images.label, level, *shape)
        strength = self.strength
        if strength is None:
            strength = self._chosen(features, images.target, cells, start, shape)
        heads = []
        for number in range(self.num_subsets):
            chosen, weights = balanced_subset(cells, counts, self.cell_images, number)
            part = (features[chosen], images.target[chosen], weights)
            heads.append(fit_head(*part, self.penalty, strength / len(chosen), start, False))
        log.info(
            "dfr: last layer fitted on %d images, cells of class and %s of %d to %d, penalty %s of strength %g",
            *(len(cells), self.attribute, counts[counts > 0].min(), counts.max(), self.penalty, strength),
        )
        mean = Head(np.mean([one.weight for one in heads], axis=0), np.mean([one.bias for one in heads], axis=0))
        return scale.folded(mean)

    def _chosen(self, features: Array, target: Array, cells: Ints, start: Head, shape: tuple[int, int]) -> float:
        """Returns the strength whose fit on one half of the images has the least loss on the other, over its cells."""
        first = halves(cells)
        if first.all():  # every cell has one image
            return STRENGTHS[len(STRENGTHS) // 2]
        counts = np.bincount(cells[first], minlength=shape[0] * (shape[1] + 1)).reshape(shape[0], -1).astype(float)
        others = np.bincount(cells[~first], minlength=counts.size).reshape(counts.shape).astype(float)
        weights = (even_shares(others, "cell").ravel() / np.maximum(others.ravel(), 1))[cells[~first]]
        losses = []
        for strength in STRENGTHS:
            chosen, share = balanced_subset(cells[first], counts, self.cell_images, 0)
            part = (features[first][chosen], target[first][chosen], share)
            head = fit_head(*part, self.penalty, strength / len(chosen), start, False)
            losses.append(float(weights @ cross_entropy(head.logits(features[~first]), target[~first])))
        return STRENGTHS[int(np.argmin(losses))]


def balanced_subset(cells: Ints, counts: Array, least: int, number: int) -> tuple[Ints, Array]:
    """Draws as many images of each cell, without replacement.

    As many as the smallest cell has, or `least` where that is less: a cell with fewer is taken whole, and its images
    weigh so much more. Images of unknown level are all taken: they are no group.

    Args:
        cells: Of the images `[N]`, as of `cells.cell_index`.
        counts: Images of each cell `[K, L + 1]`.
        least: Images.
        number: Of the subset; another gives another one.

    Returns:
        Positions `[M]`, and weights `[M]` whose sum over each cell is the cell's share of the whole.
    """
    known = counts[:, :-1]
    size = max(int(known[known > 0].min()) if known.any() else 0, least)
    order = np.random.default_rng([number, 0xDF]).permutation(len(cells))
    chosen = []
    for cell in np.flatnonzero(counts):
        members = order[cells[order] == cell]
        unknown = cell % counts.shape[1] == known.shape[1]
        chosen.append(members if unknown else members[:size])
    positions = np.sort(np.concatenate(chosen))
    drawn = np.bincount(cells[positions], minlength=counts.size)
    return positions, (even_shares(counts, "cell").ravel() / np.maximum(drawn, 1))[cells[positions]]


def halves(cells: Ints) -> NDArray[np.bool_]:
    """Returns which images are of the first half `[N]`: every other one of each cell, beginning with its first."""
    order = np.argsort(cells, kind="stable")
    first_of_cell = np.searchsorted(cells[order], cells[order], side="left")
    half = np.empty(len(cells), np.bool_)
    half[order] = (np.arange(len(cells)) - first_of_cell) % 2 == 0
    return half
