"""Which properties of images the objective speaks of: what turns a finding about one of them into an alarm."""

from __future__ import annotations

from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement

BY_GROUP = ("each_group", "each_cell", "conflicting", "gap")


def forbids(objective: Objective, name: str) -> list[Requirement]:
    """Returns the bounded requirements that a model which decides by this attribute or cue would break.

    On the images that conflict with it, on the gap between its levels, or on reliance on the cue of that name.
    """
    return [
        each
        for each in objective.requirements
        if each.bound is not None and (each.cue == name or (each.attribute == name and each.scope in BY_GROUP[2:]))
    ]


def judged_by_group(objective: Objective, attribute: str) -> list[Requirement]:
    """Returns the bounded requirements that need images of every level, or cell, of an attribute."""
    return [
        each
        for each in objective.requirements
        if each.bound is not None and each.attribute == attribute and each.scope in BY_GROUP
    ]
