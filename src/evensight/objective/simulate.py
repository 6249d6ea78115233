"""Simulated test sets: what a stage would count if the model's true rates were known.

A stratum is the images that share class and level of every attribute. Each draw gives the model a true rate in every
stratum, then counts; the evidence has the draws as leading dimension and goes through the code that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from evensight.objective.evidence import Counts, Evidence, Paired

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAJORITY = "majority"


@dataclass(frozen=True)
class Strata:
    """The sizes of a test set.

    Args:
        classes: `[S]` class of each stratum.
        levels: For each attribute `[S]` its level, -1 where it is unknown.
        n: `[S]` images.
        num_classes: K.
        num_levels: L of each attribute.
    """

    classes: IntArray
    levels: Mapping[str, IntArray]
    n: IntArray
    num_classes: int
    num_levels: Mapping[str, int]

    def only(self, attributes: Iterable[str]) -> Strata:
        """Returns the same images by these attributes alone."""
        kept = [name for name in self.levels if name in set(attributes)]
        keys = np.stack([self.classes, *(self.levels[name] for name in kept)])
        found, where = np.unique(keys, axis=1, return_inverse=True)
        n = np.bincount(where.ravel(), weights=self.n, minlength=found.shape[1]).astype(np.int64)
        return Strata(
            classes=found[0],
            levels=dict(zip(kept, found[1:], strict=True)),
            n=n,
            num_classes=self.num_classes,
            num_levels={name: self.num_levels[name] for name in kept},
        )


def strata_of_images(
    labels: ArrayLike, attributes: Mapping[str, ArrayLike], num_classes: int, num_levels: Mapping[str, int]
) -> Strata:
    """Returns the strata of a split.

    Args:
        labels: `[N]` class of each image.
        attributes: For each attribute `[N]` the level of each image, -1 where it is unknown.
        num_classes: K.
        num_levels: L of each attribute.
    """
    classes = np.asarray(labels, dtype=np.int64)
    levels = {name: np.asarray(values, dtype=np.int64) for name, values in attributes.items()}
    return Strata(classes, levels, np.ones_like(classes), num_classes, num_levels).only(levels)


def strata_of_table(n: ArrayLike, attribute: str) -> Strata:
    """Returns the strata of a table of sizes, class x level `[K, L]`."""
    table = np.asarray(n, dtype=np.int64)
    classes, levels = (part.ravel() for part in np.indices(table.shape))
    return Strata(classes, {attribute: levels}, table.ravel(), table.shape[0], {attribute: table.shape[1]})


@dataclass(frozen=True)
class Truth:
    """What is assumed of a model.

    Args:
        accuracy: True accuracy over all images, or of each stratum `[S]`.
        spread: Standard deviation, in logits, of what a class and a group add to it, drawn anew for each test set;
            half of it is that of a cell. 0 is an even model.
        pull: Chance that a transplant of the cue moves the decision to the donor's class, for all cues or each.
        placebo: Chance that the placebo does.
    """

    accuracy: float | FloatArray = 0.97
    spread: float = 0.3
    pull: float | Mapping[str, float] = 0.03
    placebo: float = 0.01


@dataclass(frozen=True)
class Looks:
    """What a stage would look at besides the images themselves.

    Args:
        usual: For each attribute the usual level of each class `[K]`, -1 where it has none.
        operators: For each cue the names of the operators that measure reliance on it.
        rivals: What the model is to beat: `majority`, or cues.
        environment: Figures that are known exactly, as in `Evidence`.
    """

    usual: Mapping[str, Sequence[int]] = field(default_factory=dict)
    operators: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rivals: Sequence[str] = ()
    environment: Mapping[str, float] = field(default_factory=dict)


def simulate(strata: Strata, truth: Truth, looks: Looks, draws: int, rng: np.random.Generator) -> Evidence:
    """Draws test sets.

    Args:
        strata: Sizes; every attribute in them adds its unevenness.
        truth: Of the model.
        looks: What is measured besides accuracy.
        draws: D, the leading dimension of every array of the evidence.
        rng: Where chance comes from.
    """
    right = rng.binomial(strata.n, true_rates(strata, truth, draws, rng))  # [D, S]
    reliance = {
        cue: {operator: _pulls(strata, truth, cue, draws, rng) for operator in operators}
        for cue, operators in looks.operators.items()
    }
    advantage = {rival: _beats(strata, right, rival_rates(strata, rival, looks), rng) for rival in looks.rivals}
    return Evidence(
        counts=_counts(strata, right, rng),
        usual=looks.usual,
        reliance=reliance,
        advantage=advantage,
        environment=looks.environment,
    )


def true_rates(strata: Strata, truth: Truth, draws: int, rng: np.random.Generator) -> FloatArray:
    """Draws the true accuracy of each stratum `[D, S]`: the logit of the mean plus N(0, s) a class, N(0, s) a group and
    N(0, s/2) a cell, shifted so that the mean over the images stays.
    """
    accuracy = np.broadcast_to(np.asarray(truth.accuracy, dtype=np.float64), strata.n.shape)
    if truth.spread == 0 or not strata.n.any():
        return np.broadcast_to(accuracy, (draws, accuracy.size))
    logits = special.logit(np.clip(accuracy, 1e-9, 1 - 1e-9))
    logits = logits + rng.normal(0, truth.spread, (draws, strata.num_classes))[:, strata.classes]
    for name, levels in strata.levels.items():
        size = strata.num_levels[name]
        group = rng.normal(0, truth.spread, (draws, size))
        cell = rng.normal(0, truth.spread / 2, (draws, strata.num_classes, size))
        logits += np.where(levels >= 0, group[:, levels] + cell[:, strata.classes, levels], 0.0)
    return _keep_mean(logits, accuracy, strata.n)


def rival_rates(strata: Strata, rival: str, looks: Looks) -> FloatArray:
    """Returns how often a rival is right in each stratum `[S]`.

    The majority is right on the largest class. A model that sees one cue alone is right where the level of that
    attribute is the class's usual one; of a cue that is no known attribute nothing better is known than chance.
    """
    if rival == MAJORITY:
        sizes = np.bincount(strata.classes, weights=strata.n, minlength=strata.num_classes)
        return np.asarray(strata.classes == sizes.argmax(), dtype=np.float64)
    if rival in looks.usual and rival in strata.levels:
        usual = np.asarray(looks.usual[rival])[strata.classes]
        return np.asarray((usual == strata.levels[rival]) & (usual >= 0), dtype=np.float64)
    return np.full(strata.n.shape, 1.0 / strata.num_classes)


def _keep_mean(logits: FloatArray, accuracy: FloatArray, n: IntArray) -> FloatArray:
    """Shifts the logits of each draw so that the rates keep their mean over the images, by bisection."""
    weights = n / n.sum()
    wanted = float(weights @ accuracy)
    low, high = np.full((len(logits), 1), -30.0), np.full((len(logits), 1), 30.0)
    for _ in range(40):
        middle = (low + high) / 2
        above = (special.expit(logits + middle) @ weights)[:, None] > wanted
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray(special.expit(logits + low))


def _counts(strata: Strata, right: IntArray, rng: np.random.Generator) -> Counts:
    """Spreads the mistakes of each stratum over the other classes alike, and adds up."""
    num_classes = strata.num_classes
    others = rng.multinomial(strata.n - right, np.full(num_classes - 1, 1 / (num_classes - 1)))  # [D, S, K - 1]
    predicted = np.zeros((*right.shape, num_classes), dtype=np.int64)  # [D, S, K]
    for k in range(num_classes):
        own = strata.classes == k
        predicted[:, own, k] = right[:, own]
        predicted[np.ix_(np.arange(len(right)), own, np.arange(num_classes) != k)] = others[:, own]
    draws = right.shape[0]
    overall = np.zeros((draws, num_classes, num_classes), dtype=np.int64)
    by_attribute = {
        name: np.zeros((draws, num_levels, num_classes, num_classes), dtype=np.int64)
        for name, num_levels in strata.num_levels.items()
    }
    for at, k in enumerate(strata.classes):
        overall[:, k] += predicted[:, at]
        for name, levels in strata.levels.items():
            if levels[at] >= 0:
                by_attribute[name][:, levels[at], k] += predicted[:, at]
    return Counts(overall, by_attribute)


def _pulls(strata: Strata, truth: Truth, cue: str, draws: int, rng: np.random.Generator) -> Paired:
    """Transplant and placebo move an image independently of each other."""
    pull = truth.pull[cue] if isinstance(truth.pull, Mapping) else truth.pull
    first, second = pull * (1 - truth.placebo), truth.placebo * (1 - pull)
    n = int(strata.n.sum())
    drawn = rng.multinomial(n, [first, second, 1 - first - second], size=draws)
    return Paired(drawn[:, 0], drawn[:, 1], np.full(draws, n))


def _beats(strata: Strata, right: IntArray, rival: FloatArray, rng: np.random.Generator) -> Paired:
    """Within a stratum the rival is right or wrong independently of the model."""
    first = rng.binomial(right, 1 - rival).sum(axis=1)
    second = rng.binomial(strata.n - right, rival).sum(axis=1)
    return Paired(first, second, np.full(len(right), int(strata.n.sum())))
