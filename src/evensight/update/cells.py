"""The cells that a decision looks at one by one: class x level of what the objective speaks of, or the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.objective.objective import Objective
from evensight.objective.requirement import ATTRIBUTE_SCOPES, Requirement

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def cell_attributes(objective: Objective) -> tuple[str, ...]:
    """Returns the attributes whose cells are looked at: those that requirements speak of, else all there are."""
    named = [one.attribute for one in objective.requirements if one.attribute and one.scope in ATTRIBUTE_SCOPES]
    return tuple(dict.fromkeys(named)) or tuple(objective.attributes)


def bounds_cells(objective: Objective) -> bool:
    """Returns whether the test's requirements bound the accuracy of every cell (of every class, where these are it)."""
    judged = [one for one in objective.judged_at("test") if one.bound is not None]
    attributes = cell_attributes(objective)
    if not attributes:
        return any(one.scope == "each_class" and one.metric == "recall" for one in judged)
    bounded = {one.attribute for one in judged if one.scope == "each_cell" and one.metric == "accuracy"}
    return set(attributes) <= bounded


def cell_names(objective: Objective) -> tuple[str, ...]:
    """Returns the names of the cells of a decision; the classes where there is no attribute."""
    return tuple(cell_members(objective, np.zeros(0, np.int64), np.zeros((0, len(objective.attributes)), np.int64)))


def cell_members(objective: Objective, labels: Ints, levels: Ints) -> dict[str, Bools]:
    """Returns which images are in each cell `[N]`, by name.

    Args:
        objective: Resolved.
        labels: `[N]`.
        levels: `[N, A]`, -1 unknown.
    """
    attributes = cell_attributes(objective)
    if not attributes:
        return {name: labels == k for k, name in enumerate(objective.class_names)}
    found = {}
    for attribute in attributes:
        column = list(objective.attributes).index(attribute)
        for k, name in enumerate(objective.class_names):
            for position, level in enumerate(objective.levels[attribute]):
                title = f"{name} x {level}" if len(attributes) == 1 else f"{name} x {attribute}={level}"
                found[title] = (labels == k) & (levels[:, column] == position)
    return found


def members_of(requirement: Requirement, objective: Objective, labels: Ints, levels: Ints, usual: Any) -> Bools | None:
    """Returns the images that a requirement on accuracy speaks of `[N]`; None where it speaks of all, or of several."""
    if requirement.scope != "conflicting" or requirement.attribute not in usual:
        return None
    own = np.asarray(usual[requirement.attribute])[labels]
    column = levels[:, list(objective.attributes).index(str(requirement.attribute))]
    found: Bools = (own >= 0) & (column >= 0) & (column != own)
    return found
