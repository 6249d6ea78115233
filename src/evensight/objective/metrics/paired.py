"""Comparisons of two outcomes on the same images, shared by advantage and reliance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from evensight.objective.verdict import Comparisons

if TYPE_CHECKING:
    from evensight.objective.evidence import Paired
    from evensight.objective.requirement import Requirement


def paired_comparisons(requirement: Requirement, outcomes: Mapping[str, Paired]) -> Comparisons:
    """Stacks outcomes, one comparison each in the order of the mapping.

    Args:
        requirement: Gives bound and direction.
        outcomes: At least one; name: counts [...].
    """
    pairs = list(outcomes.values())
    return Comparisons(
        kind="paired",
        names=tuple(outcomes),
        x=np.stack([np.asarray(pair.first) for pair in pairs], axis=-1),
        y=np.stack([np.asarray(pair.second) for pair in pairs], axis=-1),
        n=np.stack([np.asarray(pair.n) for pair in pairs], axis=-1),
        bound=requirement.bound_value,
        direction=requirement.direction,
    )
