"""Metrics of what a model costs to run: the size of the exported file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evensight.objective.metrics.base import Metric
from evensight.objective.verdict import Comparisons, NotMeasured

if TYPE_CHECKING:
    from evensight.objective.evidence import Evidence
    from evensight.objective.objective import Objective
    from evensight.objective.requirement import Requirement


class ArtifactSize(Metric):
    """Bytes of `model.ts`: known exactly, so its verdict is never INSUFFICIENT."""

    words = "artifact size"
    explanation = "bytes of model.ts"
    needs = ("environment",)
    direction = "at_most"
    stages = ("validation", "test", "pilot")
    bounds = (0.0, float("inf"))

    def show(self, value: float) -> str:
        """In decimal megabytes, or kilobytes below one."""
        return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        return "the size of model.ts"

    def comparisons(
        self, requirement: Requirement, objective: Objective, evidence: Evidence
    ) -> Comparisons | NotMeasured:
        """See `Metric.comparisons`; one value."""
        bound = requirement.bound_value
        size = evidence.environment.get("artifact_bytes")
        if size is None:
            return NotMeasured(evidence.why("artifact_bytes", "nothing was exported"), bound)
        return Comparisons(
            kind="value",
            names=("model.ts",),
            x=np.array([float(size)]),
            n=np.ones(1),
            bound=bound,
            direction=requirement.direction,
        )
