"""The verdict file: one schema for audit, validation, test, pilot and monitor, written whole and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evensight import files
from evensight.errors import UserError
from evensight.objective.objective import Objective
from evensight.objective.requirement import Requirement
from evensight.objective.verdict import Decision, Row

SCHEMA_VERSION = 1
Verdict = Literal["PASS", "FAIL", "INSUFFICIENT", "NOT_MEASURED"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparisonRecord(_Record):
    """One class, group, cell, pair of groups, operator or rival."""

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int


class NeedRecord(_Record):
    """What would decide an INSUFFICIENT row: images, of what, in words; no number where more would not help."""

    images: int | None
    of: str
    note: str


class FloorRecord(_Record):
    """What chance alone gives a minimum or a gap: its mean, and the point that 5 % are worse than."""

    mean: float
    quantile: float


class RequirementRecord(_Record):
    """One requirement; its figures are those of its worst comparison."""

    label: str  # short fixed text
    metric: str
    scope: str
    parameters: dict[str, Any]  # attribute, cue, over: those that are set
    bound: float | None  # None: shown, has no verdict
    direction: Literal["at_least", "at_most"]
    stages: list[str]  # that judge it; a row of another stage is shown and does not enter
    estimate: float | None
    low: float | None  # one-sided, at the confidence of the file: what PASS goes by
    high: float | None
    n: int
    worst: str  # name of the comparison the figures are of
    p: float | None  # of FAIL, corrected within the requirement
    verdict: Verdict | None
    reason: str  # why it was not measured, else empty
    need: NeedRecord | None
    floor: FloorRecord | None
    comparisons: list[ComparisonRecord]


class VerdictFile(_Record):
    """What one stage decided about one model on one data set."""

    schema_version: Literal[1] = 1
    objective: str  # digest
    objective_name: str
    confidence: float
    data: str  # content digest
    side_tables: dict[str, str] = Field(default_factory=dict)  # name: digest of each that was read
    artifact: str | None  # identity; None where no model is judged
    stage: str
    sealed: bool  # whether openings of the split are counted
    openings: int  # of the sealed split up to and with this one; 0 where none are counted
    verdict: Verdict
    requirements: list[RequirementRecord]
    extra: dict[str, Any] = Field(default_factory=dict)  # figures of the stage that no requirement speaks of

    def row(self, label: str) -> RequirementRecord:
        """Returns the row of a requirement by its label.

        Raises:
            KeyError: If there is none.
        """
        for record in self.requirements:
            if record.label == label:
                return record
        raise KeyError(label)


def verdict_file(
    objective: Objective,
    stage: str,
    decision: Decision,
    data_digest: str,
    artifact_identity: str | None = None,
    extra: Mapping[str, Any] | None = None,
    *,
    side_tables: Mapping[str, str] | None = None,
    sealed: bool = False,
    openings: int = 0,
) -> VerdictFile:
    """Builds the file from a decision.

    Args:
        objective: Resolved.
        stage: That judged.
        decision: Of `evidence.judge`: a row for every requirement, in their order.
        data_digest: Content digest of the data judged on.
        artifact_identity: Of the model judged.
        extra: Further figures, plain values.
        side_tables: Name and digest of each side table that was read.
        sealed: Whether the data set is sealed.
        openings: How often its test split has been opened, this time included.
    """
    rows = zip(objective.requirements, decision.rows, strict=True)
    return VerdictFile(
        objective=objective.digest(),
        objective_name=objective.name,
        confidence=objective.confidence,
        data=data_digest,
        side_tables=dict(side_tables or {}),
        artifact=artifact_identity,
        stage=stage,
        sealed=sealed,
        openings=openings,
        verdict=cast(Verdict, decision.verdict),
        requirements=[_record(requirement, row) for requirement, row in rows],
        extra=dict(extra or {}),
    )


def write(path: Path, verdict: VerdictFile) -> None:
    """Writes the file whole or not at all."""
    files.write_json(path, verdict.model_dump(mode="json"))


def read(path: Path) -> VerdictFile:
    """Reads a verdict file.

    Raises:
        UserError: If it is not there or is not one.
    """
    try:
        return VerdictFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: there is no verdict file; the stage that writes it has not run.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path}: not a verdict file of version {SCHEMA_VERSION}: {key or 'the text'}: {first['msg']}."
        ) from None


def _record(requirement: Requirement, row: Row) -> RequirementRecord:
    return RequirementRecord(
        label=requirement.label,
        metric=requirement.metric,
        scope=requirement.scope,
        parameters=requirement.parameters,
        bound=requirement.bound_value,
        direction=requirement.direction,
        stages=list(requirement.stages),
        estimate=_finite(row.estimate),
        low=_finite(row.low),
        high=_finite(row.high),
        n=row.n,
        worst=row.worst,
        p=_finite(row.p),
        verdict=cast(Verdict | None, row.verdict),
        reason=row.reason,
        need=None if row.need is None else NeedRecord(images=row.need.images, of=row.need.of, note=row.need.note),
        floor=None if row.floor is None else FloorRecord(mean=row.floor.mean, quantile=row.floor.quantile),
        comparisons=[
            ComparisonRecord(
                name=one.name, estimate=_finite(one.estimate), low=_finite(one.low), high=_finite(one.high), n=one.n
            )
            for one in row.comparisons
        ],
    )


def _finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity; neither says anything to a reader."""
    return value if value is not None and math.isfinite(value) else None
