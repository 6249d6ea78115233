"""Metrics of the data itself, which the audit judges before any model exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from evensight.objective.metrics.base import Metric
from evensight.objective.verdict import Comparisons, NotMeasured

if TYPE_CHECKING:
    from evensight.objective.evidence import DataFigures, Evidence
    from evensight.objective.objective import Objective
    from evensight.objective.requirement import Requirement

OTHER_STAGE = "the audit measures it"


class OfData(Metric):
    """A figure of the data set. Other stages show it as not theirs."""

    needs = ("data",)
    stages = ("audit",)

    def comparisons(
        self, requirement: Requirement, objective: Objective, evidence: Evidence
    ) -> Comparisons | NotMeasured:
        """See `Metric.comparisons`."""
        found = evidence.why(requirement.metric, OTHER_STAGE)
        if evidence.data is not None and requirement.metric not in evidence.missing:
            figures = self.figures(requirement, objective, evidence.data)
            if not isinstance(figures, str):
                return figures
            found = figures
        return NotMeasured(found, requirement.bound_value)

    def figures(self, requirement: Requirement, objective: Objective, data: DataFigures) -> Comparisons | str:
        """Returns the comparisons, or why the data has none."""
        raise NotImplementedError


class KnownShare(OfData):
    """A share of images of which all are known: a number without error."""

    direction = "at_most"
    low_end = True  # none at all is a bound that data can meet
    of: ClassVar[str]  # the images it is a share of

    def show(self, value: float) -> str:
        """Four digits: one image of ten thousand counts; 0 only where there is none."""
        return "0" if value == 0 else f"{value:.4f}" if value >= 1e-4 else f"{value:.1e}"

    def figures(self, requirement: Requirement, objective: Objective, data: DataFigures) -> Comparisons | str:
        """See `OfData.figures`; one value."""
        counted = data.share(requirement.metric)
        if counted is None:
            return "it was not looked for"
        x, n = counted
        if n == 0:
            return f"there are no {self.of}"
        return Comparisons(
            kind="value",
            names=(self.of,),
            x=np.array([x / n]),
            n=np.array([n]),
            bound=requirement.bound_value,
            direction=requirement.direction,
        )


class Unreadable(KnownShare):
    """Share of the rows whose image cannot be decoded."""

    words = "share of images that cannot be read"
    explanation = "images that cannot be decoded / all images"
    of = "images"

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        return f"the {self.words}"


class Leakage(KnownShare):
    """Share of the test images that training holds too, equal or nearly so."""

    words = "leakage"
    explanation = "test images with an equal or nearly equal image in training / test images"
    of = "test images"

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        return "the share of test images that have an equal or nearly equal image in training"


class Agreement(OfData):
    """Share of the images labelled more than once on which a random pair of labels agrees."""

    words = "agreement of annotators"
    explanation = "images on which a random pair of annotators agrees / images labelled at least twice"
    direction = "at_least"

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        return "the share of images labelled at least twice on which a random pair of annotators agrees"

    def figures(self, requirement: Requirement, objective: Objective, data: DataFigures) -> Comparisons | str:
        """See `OfData.figures`; a rate."""
        if data.agreement is None:
            return "the data names no annotators"
        x, n = data.agreement
        if n == 0:
            return "no image was labelled by two annotators"
        return Comparisons(
            kind="rate",
            names=("images labelled twice",),
            x=np.array([x]),
            n=np.array([n]),
            bound=requirement.bound_value,
            direction=requirement.direction,
        )


class ImagesInTest(OfData):
    """Images in the test split, of all, of every class, group or cell: whether it can decide anything."""

    words = "number of test images"
    explanation = "images of the test split that can be decoded"
    direction = "at_least"
    scopes = ("overall", "each_class", "each_group", "each_cell")
    bounds = (0.0, float("inf"))

    def show(self, value: float) -> str:
        """A whole number."""
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        return f"the {self.words}" if requirement.scope == "overall" else super().subject(requirement)

    def figures(self, requirement: Requirement, objective: Objective, data: DataFigures) -> Comparisons | str:
        """See `OfData.figures`; a value for all, or each class, group or cell; an empty one stays, with 0."""
        if not data.images:
            return "there is no test split"
        classes, scope, attribute = objective.class_names, requirement.scope, requirement.attribute
        of_classes = np.asarray(data.images["overall"], dtype=np.int64)
        if attribute is None:
            each = scope == "each_class"
            names = classes if each else ("all images",)
            counts = of_classes if each else of_classes.sum(keepdims=True)
        else:
            table = data.images.get(attribute)
            if table is None:
                return f"{attribute} is not known of any test image"
            levels, cells = objective.levels[attribute], np.asarray(table, dtype=np.int64)
            names, counts = levels, cells.sum(axis=0)
            if scope == "each_cell":
                names = tuple(f"{name} x {level}" for name in classes for level in levels)
                counts = cells.ravel()
        return Comparisons(
            kind="value",
            names=names,
            x=counts.astype(np.float64),
            n=counts,
            bound=requirement.bound_value,
            direction=requirement.direction,
        )
