"""One requirement: a metric, a scope, a bound, the stages that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictStr, ValidationInfo, field_validator

from evensight import names
from evensight.errors import MOST_SHOWN, shown
from evensight.objective.metrics.base import SCOPES, STAGES, Direction, Metric

ABOVE_CHANCE = "above_chance"
ATTRIBUTE_SCOPES = ("each_group", "each_cell", "conflicting", "gap")
EACH = ("each_class", "each_group", "each_cell")

__all__ = ["ABOVE_CHANCE", "ATTRIBUTE_SCOPES", "EACH", "SCOPES", "STAGES", "Requirement", "metric_named"]


def metric_named(name: str, key: str = "metric") -> Metric:
    """Returns the metric object a name stands for.

    Raises:
        UserError: If the table has no such name.
    """
    metric: Metric = names.resolve(names.METRICS, key, name)()
    return metric


class Requirement(BaseModel):
    """A bound on a metric within a scope.

    Types are checked here; what must agree with the rest of an objective is checked by `Objective`, which knows the
    position of the requirement and can say it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: StrictStr  # a name of names.METRICS
    scope: StrictStr = "overall"  # of SCOPES
    attribute: StrictStr | None = None  # for a scope that speaks of groups
    cue: StrictStr | None = None  # for reliance: a name of names.CUES
    over: tuple[StrictStr, ...] = ()  # for advantage: the rivals, `majority` or a cue whose probe is to be beaten
    bound: StrictFloat | Literal["above_chance"] | None = None  # None: shown and not judged
    stages: tuple[StrictStr, ...] = Field(default=(), validate_default=True)  # none: all that can judge the metric

    @field_validator("bound", mode="before")
    @classmethod
    def _bound(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None or number or value == ABOVE_CHANCE:
            return value
        raise ValueError(f"{shown(value)} is no bound; allowed: a number, {ABOVE_CHANCE}, or null (shown, not judged).")

    @field_validator("over", "stages", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{shown(value)} is not a list; write it in brackets, [{str(value)[:MOST_SHOWN]}].")
        return tuple(value)

    @field_validator("stages", mode="after")
    @classmethod
    def _in_order(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Fills in the metric's stages and keeps the order of a model's life, so that one meaning has one digest."""
        metric = info.data.get("metric")
        if not value and metric in names.METRICS:
            return metric_named(metric).stages
        return tuple(sorted(value, key=STAGES.index)) if set(value) <= set(STAGES) else value

    @property
    def measure(self) -> Metric:
        """The metric object."""
        return metric_named(self.metric)

    @property
    def bound_value(self) -> float | None:
        """The bound as a number, None where the figure is only shown; the words of a resolved one are filled in."""
        return None if self.bound is None else float(self.bound)

    @property
    def direction(self) -> Direction:
        """Which side of the bound is good."""
        return "at_most" if self.scope == "gap" else self.measure.direction

    @property
    def label(self) -> str:
        """Short fixed text, the same in the terminal, the report and the verdict file."""
        subject = self.metric.replace("_", " ")
        if self.cue:
            subject += f" on {self.cue}"
        if self.over:
            subject += f" over {', '.join(self.over)}"
        return {
            "each_class": f"{subject} of each class",
            "each_group": f"{subject} of each {self.attribute}",
            "each_cell": f"{subject} of each class x {self.attribute}",
            "conflicting": f"{subject} of conflicting images ({self.attribute})",
            "gap": f"{subject} gap over {self.attribute}",
        }.get(self.scope, subject)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two requirements share when they bound the same figure."""
        return (self.metric, self.scope, self.attribute, self.cue, tuple(sorted(self.over)))

    @property
    def parameters(self) -> dict[str, Any]:
        """The keys beside metric and scope that are set, as a verdict file shows them."""
        values = {"attribute": self.attribute, "cue": self.cue, "over": list(self.over) or None}
        return {key: value for key, value in values.items() if value is not None}
