"""What a metric tells the rest of evensight: its needs, its direction, who can judge it, and its comparisons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from evensight.objective.evidence import Evidence
    from evensight.objective.objective import Objective
    from evensight.objective.requirement import Requirement
    from evensight.objective.verdict import Comparisons, NotMeasured

Direction = Literal["at_least", "at_most"]
Needs = Literal["counts", "scores", "interventions", "environment", "data"]

STAGES = ("audit", "validation", "test", "pilot", "monitor")
SCOPES = ("overall", "each_class", "each_group", "each_cell", "conflicting", "gap")


class Metric(ABC):
    """One kind of figure a requirement can bound. A new one is a subclass in its own file and a line in the table."""

    words: ClassVar[str]  # how a sentence names it
    explanation: ClassVar[str]  # what it counts, in one line
    needs: ClassVar[tuple[Needs, ...]]  # what must have been collected before it can be computed
    direction: ClassVar[Direction]  # which side of a bound is good; a gap is at_most whatever this says
    stages: ClassVar[tuple[str, ...]]  # of STAGES: where it can be judged, and is unless a requirement says fewer
    scopes: ClassVar[tuple[str, ...]] = ("overall",)  # of SCOPES
    parameters: ClassVar[tuple[str, ...]] = ()  # keys of a requirement it cannot do without: cue, over
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)  # a bound lies strictly between: at an end nothing is decided
    low_end: ClassVar[bool] = False  # whether the lower end of `bounds` may be a bound: figures without error reach it
    has_chance: ClassVar[bool] = (
        False  # whether the bound `above_chance` (one over the number of classes) means anything
    )
    use_instead: ClassVar[dict[str, str]] = {}  # scope it has not: what to write for it

    def show(self, value: float) -> str:
        """Writes a value of this metric as text."""
        return f"{value:.3f}"

    def subject(self, requirement: Requirement) -> str:
        """Says what is bounded, as the subject of a sentence that goes on with "is"."""
        attribute = requirement.attribute
        return {
            "overall": f"the {self.words} over all images",
            "each_class": f"the {self.words} of every class",
            "each_group": f"the {self.words} within every {attribute}",
            "each_cell": f"the {self.words} of every class within every {attribute}",
            "conflicting": f"the {self.words} on images whose {attribute} is not the usual one of their class",
            "gap": f"the difference in {self.words} between any two levels of {attribute}",
        }[requirement.scope]

    @abstractmethod
    def comparisons(
        self, requirement: Requirement, objective: Objective, evidence: Evidence
    ) -> Comparisons | NotMeasured:
        """Turns evidence into the comparisons a verdict is made of.

        Args:
            requirement: One that names this metric.
            objective: Resolved; gives classes and levels their names.
            evidence: What a stage collected, with any leading dimensions of draws.

        Returns:
            The comparisons with the same leading dimensions, or why there are none.
        """
