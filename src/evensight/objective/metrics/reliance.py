"""Reliance: how far a cue taken from another image pulls the decision to that image's class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evensight.objective.metrics.base import Metric
from evensight.objective.metrics.paired import paired_comparisons
from evensight.objective.verdict import Comparisons, NotMeasured

if TYPE_CHECKING:
    from evensight.objective.evidence import Evidence
    from evensight.objective.objective import Objective
    from evensight.objective.requirement import Requirement


class Reliance(Metric):
    """Share of images moved to the donor's class by the transplant, less the share a placebo moves there."""

    words = "reliance"
    explanation = "(images only the transplant moves to its donor's class - images only the placebo does) / all images"
    needs = ("interventions",)
    direction = "at_most"
    stages = ("validation", "test", "pilot", "monitor")
    parameters = ("cue",)

    def subject(self, requirement: Requirement) -> str:
        """See `Metric.subject`."""
        return (
            f"the share of decisions that another image's {requirement.cue} pulls to its class, less a placebo's share,"
        )

    def comparisons(
        self, requirement: Requirement, objective: Objective, evidence: Evidence
    ) -> Comparisons | NotMeasured:
        """See `Metric.comparisons`; one comparison an operator, each of which must pass."""
        operators = evidence.reliance.get(requirement.cue or "")
        if not operators:
            reason = evidence.why(f"reliance/{requirement.cue}", f"reliance on {requirement.cue} was not measured")
            return NotMeasured(reason, requirement.bound_value)
        return paired_comparisons(requirement, operators)
