"""Metrics that are shares of images: accuracy, recall, precision, within any scope of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evensight.objective.metrics.base import Metric
from evensight.objective.verdict import Comparisons, NotMeasured

if TYPE_CHECKING:
    from evensight.objective.evidence import Evidence
    from evensight.objective.objective import Objective
    from evensight.objective.requirement import Requirement

LABELLED = ("validation", "test", "pilot", "monitor")


@dataclass(frozen=True)
class Rates:
    """Successes and images, one comparison along the last dimension."""

    names: tuple[str, ...]
    x: NDArray[Any]  # [..., C]
    n: NDArray[Any]  # [..., C]
    by_class: tuple[NDArray[Any], NDArray[Any]] | None = None  # of groups: successes and images by class, [K, C] each


def correct(confusion: NDArray[Any]) -> NDArray[Any]:
    """Images predicted as their own class: the diagonal of [..., K, K], [..., K]."""
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def by_class(confusion: NDArray[Any], classes: Sequence[str]) -> Rates:
    """Recall: of the images of each class, those predicted as it."""
    return Rates(tuple(classes), correct(confusion), confusion.sum(-1))


def by_prediction(confusion: NDArray[Any], classes: Sequence[str]) -> Rates:
    """Precision: of the images predicted as each class, those of it."""
    return Rates(tuple(classes), correct(confusion), confusion.sum(-2))


def overall(confusion: NDArray[Any]) -> Rates:
    """Accuracy over all images."""
    return Rates(("all images",), correct(confusion).sum(-1)[..., None], confusion.sum((-1, -2))[..., None])


def by_group(histogram: NDArray[Any], levels: Sequence[str]) -> Rates:
    """Accuracy of each level, from [..., L, K, K]. A level without images stays, with n = 0."""
    x, n = correct(histogram), histogram.sum(-1)  # [..., L, K]
    # What chance alone gives is worked out for real counts, not for each draw of simulated ones.
    within = (x.T, n.T) if histogram.ndim == 3 else None
    return Rates(tuple(levels), x.sum(-1), n.sum(-1), within)


def by_cell(histogram: NDArray[Any], classes: Sequence[str], levels: Sequence[str]) -> Rates:
    """Accuracy of each class x level, class first, from [..., L, K, K]. An empty cell stays, with n = 0."""
    shape = (*histogram.shape[:-3], len(classes) * len(levels))
    x = np.swapaxes(correct(histogram), -1, -2).reshape(shape)
    n = np.swapaxes(histogram.sum(-1), -1, -2).reshape(shape)
    return Rates(tuple(f"{name} x {level}" for name in classes for level in levels), x, n)


def conflicting(histogram: NDArray[Any], usual: Sequence[int]) -> Rates:
    """Accuracy of the images whose level is not the usual one of their class, from [..., L, K, K].

    A class without a usual level (-1) has no conflicting images.
    """
    table = np.asarray(usual)
    against = (np.arange(histogram.shape[-3])[:, None] != table[None, :]) & (table[None, :] >= 0)  # [L, K]
    x = (correct(histogram) * against).sum((-1, -2))
    n = (histogram.sum(-1) * against).sum((-1, -2))
    return Rates(("conflicting images",), x[..., None], n[..., None])


class Rate(Metric):
    """A share of images that the counts hold."""

    needs = ("counts",)
    direction = "at_least"
    stages = LABELLED

    def comparisons(
        self, requirement: Requirement, objective: Objective, evidence: Evidence
    ) -> Comparisons | NotMeasured:
        """See `Metric.comparisons`; a rate per class, group or cell, or the groups of a gap."""
        bound = requirement.bound_value
        rates = self.rates(requirement, objective, evidence)
        if isinstance(rates, str):
            return NotMeasured(rates, bound)
        return Comparisons(
            kind="gap" if requirement.scope == "gap" else "rate",
            names=rates.names,
            x=rates.x,
            n=rates.n,
            bound=bound,
            direction=requirement.direction,
            by_class=rates.by_class,
        )

    def rates(self, requirement: Requirement, objective: Objective, evidence: Evidence) -> Rates | str:
        """Returns the rates of the requirement's scope, or why the counts do not hold them."""
        if evidence.counts is None:
            return evidence.why("counts", "no labelled image was predicted")
        classes, scope, attribute = objective.class_names, requirement.scope, requirement.attribute
        if attribute is None:
            return (
                overall(evidence.counts.overall) if scope == "overall" else by_class(evidence.counts.overall, classes)
            )
        histogram = evidence.counts.by_attribute.get(attribute)
        if histogram is None or not histogram.any():
            return evidence.why(f"counts/{attribute}", f"{attribute} is not known of any image")
        levels = objective.levels[attribute]
        if scope == "conflicting":
            usual = evidence.usual.get(attribute)
            if usual is None:
                return evidence.why(f"usual/{attribute}", f"no class has a usual {attribute} in training")
            return conflicting(histogram, usual)
        if scope == "each_cell":
            return by_cell(histogram, classes, levels)
        if scope == "gap" and len(levels) < 2:
            return f"{attribute} has one level, so there is no gap"
        return by_group(histogram, levels)


class Accuracy(Rate):
    """Share of images whose predicted class is their own."""

    words = "accuracy"
    explanation = "images given their own class / all images"
    scopes = ("overall", "each_group", "each_cell", "conflicting", "gap")
    has_chance = True
    use_instead: ClassVar[dict[str, str]] = {
        "each_class": "The accuracy of a class is its recall: write metric: recall."
    }


class Recall(Rate):
    """Share of a class's images that are predicted as it."""

    words = "recall"
    explanation = "images of a class given that class / images of that class"
    scopes = ("each_class",)
    has_chance = True
    use_instead: ClassVar[dict[str, str]] = {
        "overall": "Over all images that is accuracy: write metric: accuracy.",
        "each_cell": "Within a group that is the accuracy of a cell: write metric: accuracy.",
    }


class Precision(Rate):
    """Share of the images predicted as a class that are of it."""

    words = "precision"
    explanation = "images given a class that are of it / images given that class"
    scopes = ("each_class",)
    use_instead: ClassVar[dict[str, str]] = {"overall": "Over all images that is accuracy: write metric: accuracy."}

    def rates(self, requirement: Requirement, objective: Objective, evidence: Evidence) -> Rates | str:
        """See `Rate.rates`; the n of a class is the number of images predicted as it."""
        if evidence.counts is None:
            return evidence.why("counts", "no labelled image was predicted")
        return by_prediction(evidence.counts.overall, objective.class_names)
