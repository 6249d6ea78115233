"""How a fit stands against the objective: what chooses the checkpoint. Estimates, never a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.objective.comparisons import Comparisons, bounds
from evensight.objective.evidence import Counts, Evidence, Paired, comparisons, primary_value
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.objective.verdict import corrected_p
from evensight.training.focus.controller import meets, readings_of
from evensight.training.record import Record, flat

Array = NDArray[Any]

# A comparison on fewer validation images than this does not choose a checkpoint.
LEAST_IMAGES = 30


@dataclass(frozen=True)
class Standing:
    """How far the objective is met by estimates.

    Attributes:
        num_met: Requirements whose every estimate meets its bound.
        num_measured: Requirements that were measured.
        primary: The primary metric, None where it has no image.
        primary_n: Its images.
        num_held: Bounds on reliance that the fit steers by and that its intervals lie under.
    """

    num_met: int
    num_measured: int
    primary: float | None
    primary_n: int
    num_held: int = 0

    @property
    def rank(self) -> tuple[float, float, float]:
        """What a better checkpoint has more of.

        Bounds that the fit steers by come first: an epoch that misses them is right more often on validation images in
        which the shortcut holds, and for the wrong reason. Then requirements met, then the primary metric if it has
        enough images.
        """
        enough = self.primary is not None and self.primary_n >= LEAST_IMAGES
        primary = float(self.primary) if enough and self.primary is not None else float("-inf")
        return float(self.num_held), float(self.num_met), primary


def evidence_of_counts(
    overall: Array,
    by_attribute: Mapping[str, Array],
    usual: Mapping[str, Sequence[int]],
    class_counts: Sequence[int] | None = None,
) -> Evidence:
    """Returns what a validation epoch knows of the objective.

    Args:
        overall: `[K, K]` images by true class and prediction.
        by_attribute: Attribute to `[L, K, K]`.
        usual: Attribute to the usual level of each class `[K]`.
        class_counts: Training images of each class; with them the model is compared with the largest class.
    """
    advantage = {}
    if class_counts is not None:
        majority = int(np.argmax(class_counts))
        right = np.diagonal(overall)
        only_model = right.sum() - right[majority]
        only_majority = overall[majority].sum() - right[majority]
        advantage["majority"] = Paired(np.array(only_model), np.array(only_majority), np.array(overall.sum()))
    return Evidence(counts=Counts(overall, by_attribute), usual=usual, advantage=advantage)


def standing(
    objective: Objective, evidence: Evidence, reliance: Record | None = None, steered: Mapping[str, float] | None = None
) -> Standing:
    """Returns how many requirements the estimates meet, and the primary metric.

    Args:
        objective: Resolved.
        evidence: Of the counts of an epoch.
        reliance: Figures of reliance of the same epoch, where it is measured in every one: what is measured now and
            then would make the epochs in which it is look better.
        steered: Cue to the bound on reliance that `focus=auto` steers by.
    """
    if reliance is not None:
        evidence = dataclasses.replace(evidence, reliance=estimates_of_reliance(reliance))
    found = [estimates_meet(row) for _, row in measured(objective, evidence)]
    primary = primary_value(objective, evidence)
    value, n = primary if primary is not None else (None, 0)
    return Standing(sum(found), len(found), value, n, num_held(reliance or Record(), steered or {}))


def num_held(reliance: Record, steered: Mapping[str, float]) -> int:
    """Counts the cues whose reliance lies at or under its bound, by the rule that `focus=auto` steers by."""
    readings = readings_of(flat([reliance]), steered)
    return sum(meets(reading, steered[cue]) for cue, reading in readings.items())


def estimates_of_reliance(record: Record) -> dict[str, dict[str, Paired]]:
    """Returns the largest reliance on each cue as evidence that has the right estimate and n, and nothing else.

    Figures do not say how many images each of the two outcomes moved alone, only their difference: good for estimates,
    not for bounds.
    """
    found = {}
    for name, (_, _, n) in record.intervals.items():
        prefix, _, cue = name.rpartition("/")
        if prefix == "val/reliance":
            moved = round(record.metrics[name] * n)
            found[cue] = {"largest": Paired(np.array(max(moved, 0)), np.array(max(-moved, 0)), np.array(n))}
    return found


def out_of_reach(objective: Objective, evidence: Evidence, level: float) -> list[Requirement]:
    """Returns the requirements whose bound the measured rates deny.

    Args:
        objective: Resolved.
        evidence: Of one epoch.
        level: Error of all looks together; a requirement is tested at `level` / number of requirements.
    """
    rows = list(measured(objective, evidence))
    return [requirement for requirement, row in rows if corrected_p(row) <= level / len(rows)]


def measured(objective: Objective, evidence: Evidence) -> Iterator[tuple[Requirement, Comparisons]]:
    """Yields the requirements that have a bound and were measured, with their comparisons on enough images."""
    for requirement in objective.requirements:
        row = comparisons(requirement, objective, evidence)
        if isinstance(row, Comparisons) and row.bound is not None:
            kept = on_enough_images(row)
            if kept is not None:
                yield requirement, kept


def on_enough_images(row: Comparisons, least: int = LEAST_IMAGES) -> Comparisons | None:
    """Returns a row with only the comparisons (the groups of a gap) on at least so many images, None if none remain."""
    enough = np.asarray(row.n) >= least
    if enough.sum() < (2 if row.kind == "gap" else 1):
        return None
    return dataclasses.replace(
        row,
        names=tuple(name for name, keep in zip(row.names, enough, strict=True) if keep),
        x=row.x[enough],
        n=row.n[enough],
        y=None if row.y is None else row.y[enough],
        by_class=None,
    )


def estimates_meet(row: Comparisons) -> bool:
    """Returns whether every estimate lies on the good side of the bound."""
    estimate = bounds(row, 0.05).estimate
    assert row.bound is not None
    return bool(np.all(estimate >= row.bound if row.direction == "at_least" else estimate <= row.bound))
