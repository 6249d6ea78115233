"""The evidence plan: what the present test set can decide, and which of its cells need how many images more.

By the sizes of the test split alone, which may always be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.metrics.planning import cells_n, least_n, least_n_gap, least_n_paired
from evensight.objective.command import SplitCounts, chances_at, likely_truth
from evensight.objective.objective import Objective
from evensight.objective.plan import Chances, gap_n, paired_n
from evensight.objective.requirement import Requirement
from evensight.objective.simulate import Truth

STAGE = "test"
# Random numbers of a plan: about a second. Fewer test sets than `_LEAST_DRAWS` say nothing.
_EFFORT, _MOST_DRAWS, _LEAST_DRAWS = 20_000_000, 1_000, 100
# Pairs of groups grow with their square; beyond this only the least number is said.
_MOST_GROUPS = 12
_QUICK = 500


@dataclass(frozen=True)
class CellNeed:
    """One class, group or cell of a requirement.

    Attributes:
        requirement: Its label.
        cell: Of what: ``all images``, ``dog``, ``red``, ``dog x red``.
        has: Test images.
        needs: With which all of the requirement's cells pass together four times in five, if the assumed model is the
            truth; None where no number would do.
        least: Without which it cannot pass at all; None where no number would do.
    """

    requirement: str
    cell: str
    has: int
    needs: int | None
    least: int | None

    @property
    def missing(self) -> int:
        """Images more."""
        return max(0, (self.needs or 0) - self.has)

    @property
    def hopeless(self) -> bool:
        """Whether the requirement cannot pass for want of images of this cell."""
        return self.least is not None and self.has < self.least


@dataclass(frozen=True)
class EvidencePlan:
    """What the test split can decide.

    Attributes:
        truth: Assumed of the model.
        cells: Every class, group and cell of every requirement that counts images.
        chances: By simulation through the code that decides; None where it would take long, or nothing is judged.
    """

    truth: Truth
    cells: list[CellNeed]
    chances: Chances | None


def evidence_plan(
    objective: Objective, counts: SplitCounts, usual: Mapping[str, Sequence[int]], stage: str = STAGE
) -> EvidencePlan:
    """Plans one split.

    Args:
        objective: Resolved.
        counts: Of the split, as `Manifest.counts`.
        usual: Attribute -> usual level of each class `[K]`, -1 where it has none.
        stage: Whose requirements are judged on the split.
    """
    truth = likely_truth(objective, counts)
    judged = [each for each in objective.judged_at(stage) if each.bound is not None]
    cells = [need for each in judged for need in _needs(each, objective, counts, usual, truth)]
    named = {each.attribute for each in judged if each.attribute}
    strata = objective.num_classes * int(np.prod([1 + len(objective.levels[name]) for name in sorted(named)] or [1]))
    draws = min(_MOST_DRAWS, _EFFORT // (strata * objective.num_classes))
    simulated = bool(judged) and draws >= _LEAST_DRAWS and np.asarray(counts["overall"]).sum() > 0
    chances = chances_at(objective, stage, counts, usual, truth, draws) if simulated else None
    return EvidencePlan(truth, cells, chances)


def _needs(
    requirement: Requirement,
    objective: Objective,
    counts: SplitCounts,
    usual: Mapping[str, Sequence[int]],
    truth: Truth,
) -> list[CellNeed]:
    found = _sizes(requirement, objective, counts, usual)
    if found is None:
        return []
    names, has = found
    needs, least = _wanted(requirement, len(names), truth, objective.alpha)
    return [CellNeed(requirement.label, name, int(n), needs, least) for name, n in zip(names, has, strict=True)]


def _sizes(
    requirement: Requirement, objective: Objective, counts: SplitCounts, usual: Mapping[str, Sequence[int]]
) -> tuple[Sequence[str], NDArray[np.int64]] | None:
    """Returns the cells of a requirement and their images; None for one that counts none."""
    if not {"counts", "interventions"} & set(requirement.measure.needs):
        return None
    of_class = np.asarray(counts["overall"], dtype=np.int64)
    attribute, scope = requirement.attribute, requirement.scope
    if attribute is None:
        each = scope == "each_class"
        return (objective.class_names, of_class) if each else (("all images",), of_class.sum(keepdims=True))
    levels = objective.levels[attribute]
    table = np.asarray(counts.get(attribute, np.zeros((len(of_class), len(levels)))), dtype=np.int64)
    if scope == "each_cell":
        return tuple(f"{name} x {level}" for name in objective.class_names for level in levels), table.ravel()
    if scope == "conflicting":
        if attribute not in usual:
            return None
        expected = np.asarray(usual[attribute])[:, None]
        against = (np.arange(len(levels)) != expected) & (expected >= 0)
        return ("conflicting images",), (table * against).sum(keepdims=True).ravel()
    return levels, table.sum(axis=0)


def _wanted(requirement: Requirement, num_cells: int, truth: Truth, alpha: float) -> tuple[int | None, int | None]:
    """Returns how many images each cell of a requirement needs, and the least it can pass with."""
    assert requirement.bound is not None
    bound, accuracy = float(requirement.bound), float(np.mean(truth.accuracy))
    if requirement.scope == "gap":
        least = least_n_gap(bound, alpha)
        few = num_cells <= _MOST_GROUPS
        return (gap_n(bound, accuracy, num_cells, alpha=alpha, draws=_QUICK) if few else least), least
    if requirement.metric == "reliance":
        assert not isinstance(truth.pull, Mapping)
        least = least_n_paired(bound, alpha)
        if truth.pull - truth.placebo >= bound:
            return None, least
        return paired_n(bound, truth.pull, truth.placebo, alpha=alpha, draws=4 * _QUICK), least
    if requirement.metric == "advantage":
        least = least_n_paired(bound, alpha, at_least=True)
        return least, least
    return cells_n(bound, accuracy, num_cells, alpha=alpha), least_n(bound, alpha)
