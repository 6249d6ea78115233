"""Advantage: by how much the model beats the largest class, and what a model that sees one cue alone would score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evensight.objective.metrics.base import Metric
from evensight.objective.metrics.paired import paired_comparisons
from evensight.objective.verdict import Comparisons, NotMeasured

if TYPE_CHECKING:
    from evensight.objective.evidence import Evidence
    from evensight.objective.objective import Objective
    from evensight.objective.requirement import Requirement


class Advantage(Metric):
    """Accuracy less that of each rival on the same images; all of them must be beaten, none is chosen on test."""

    words = "advantage"
    explanation = "(images only the model gets right - images only the rival gets right) / all images"
    needs = ("counts",)
    direction = "at_least"
    stages = ("validation", "test", "pilot", "monitor")
    parameters = ("over",)
    bounds = (-1.0, 1.0)

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        rivals = [
            "always naming the largest class" if r == "majority" else f"seeing {r} alone" for r in requirement.over
        ]
        return f"the accuracy less what {' and less what '.join(rivals)} would score"

    def comparisons(
        self, requirement: Requirement, objective: Objective, evidence: Evidence
    ) -> Comparisons | NotMeasured:
        """See `Metric.comparisons`; one comparison a rival, named for it."""
        for rival in requirement.over:
            if rival not in evidence.advantage:
                reason = evidence.why(f"advantage/{rival}", f"what {rival} alone would score was not computed")
                return NotMeasured(reason, requirement.bound_value)
        return paired_comparisons(requirement, {rival: evidence.advantage[rival] for rival in requirement.over})
