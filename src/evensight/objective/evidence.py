"""What a stage has collected, and how a requirement reads it. Every array may have leading dimensions of draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.objective.objective import Objective
from evensight.objective.requirement import ABOVE_CHANCE, Requirement
from evensight.objective.verdict import Comparisons, Decision, NotMeasured, decide

Array = NDArray[Any]


@dataclass(frozen=True)
class Counts:
    """Images by true class and prediction; an image of unknown level is in `overall` alone."""

    overall: Array  # int64 [..., K, K]: true class x predicted class
    by_attribute: Mapping[str, Array] = field(default_factory=dict)  # name: int64 [..., L, K, K], level first


@dataclass(frozen=True)
class Paired:
    """Two yes-or-no outcomes on the same images."""

    first: Array  # images on which only the first was true [...]
    second: Array  # images on which only the second was true [...]
    n: Array  # all images [...]


@dataclass(frozen=True)
class DataFigures:
    """What the audit counted in the data itself; None where it did not look, or the data has nothing to look at.

    Attributes:
        unreadable: Images that cannot be decoded, of all images.
        leakage: Test images with an equal or nearly equal image in training, of all test images.
        agreement: Images on which a random pair of their labels agrees, of those with labels of two annotators.
        images: Of the test split, as `Manifest.counts`: ``overall`` [K] and for each attribute [K, L].
    """

    unreadable: tuple[int, int] | None = None
    leakage: tuple[int, int] | None = None
    agreement: tuple[int, int] | None = None
    images: Mapping[str, Array] = field(default_factory=dict)

    def share(self, name: str) -> tuple[int, int] | None:
        """Returns x and n by the name of their metric."""
        return {"unreadable": self.unreadable, "leakage": self.leakage, "agreement": self.agreement}[name]


@dataclass(frozen=True)
class Evidence:
    """All that requirements of any metric read. What is absent makes a requirement NOT_MEASURED."""

    counts: Counts | None = None
    usual: Mapping[str, Sequence[int]] = field(default_factory=dict)  # attribute: level index per class [K]
    reliance: Mapping[str, Mapping[str, Paired]] = field(default_factory=dict)  # cue: operator: transplant, placebo
    advantage: Mapping[str, Paired] = field(default_factory=dict)  # rival: only the model right, only the rival right
    environment: Mapping[str, float] = field(default_factory=dict)  # "artifact_bytes": bytes of model.ts
    data: DataFigures | None = None  # of the audit alone
    missing: Mapping[str, str] = field(default_factory=dict)  # "reliance/colour", "counts", ...: why it is absent

    def why(self, key: str, otherwise: str) -> str:
        """Returns the stated reason why the evidence named `key` is absent, else the given words."""
        return self.missing.get(key, self.missing.get(key.split("/")[0], otherwise))


def comparisons(requirement: Requirement, objective: Objective, evidence: Evidence) -> Comparisons | NotMeasured:
    """Turns evidence into the comparisons of one requirement, through its metric.

    Args:
        requirement: Of a resolved objective: its bound is a number or None.
        objective: Resolved; names classes and levels.
        evidence: With any leading dimensions of draws, the same throughout.

    Raises:
        ValueError: If the objective has not been resolved.
    """
    if not objective.resolved or requirement.bound == ABOVE_CHANCE:
        raise ValueError(f"objective {objective.name!r} has classes or bounds from the data: call resolve() first")
    return requirement.measure.comparisons(requirement, objective, evidence)


def judge(objective: Objective, stage: str, evidence: Evidence) -> Decision:
    """Decides an objective at one stage (rules 1 to 4).

    Returns:
        A row for every requirement, in their order; one that this stage does not judge is shown and does not enter.
    """
    judged = objective.judged_at(stage)
    rows = [comparisons(requirement, objective, evidence) for requirement in objective.requirements]
    shown = [
        row if requirement in judged else replace(row, shown_only=True)
        for requirement, row in zip(objective.requirements, rows, strict=True)
    ]
    return decide(shown, objective.alpha)


def primary_value(objective: Objective, evidence: Evidence) -> tuple[float, int] | None:
    """Returns estimate and number of images of the primary metric (of its worst comparison where there are several).

    None where it was not measured or has no image.
    """
    found = comparisons(objective.primary, objective, evidence)
    if isinstance(found, NotMeasured):
        return None
    n = np.asarray(found.n)
    if not n.min(initial=1) > 0:
        return None
    gain = found.x if found.y is None else found.x - found.y
    estimates = gain / n
    worst = int(estimates.argmin())
    return float(estimates[worst]), int(n[worst])
