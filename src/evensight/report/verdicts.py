"""The verdict table: each requirement in words, with its interval drawn against its bound."""

from __future__ import annotations

from dataclasses import dataclass

from evensight.objective.requirement import metric_named
from evensight.objective.verdict_file import RequirementRecord, VerdictFile
from evensight.report.charts import Scale, scale

MEANING = {
    "PASS": "every requirement is met, shown beyond chance",
    "FAIL": "at least one requirement is not met, shown beyond chance",
    "INSUFFICIENT": "nothing has failed, but these images do not show that all requirements are met",
    "NOT_MEASURED": "at least one requirement could not be looked at",
}
WORDS = {"PASS": "PASS", "FAIL": "FAIL", "INSUFFICIENT": "INSUFFICIENT", "NOT_MEASURED": "NOT MEASURED"}


@dataclass(frozen=True)
class Interval:
    """An interval drawn on its own axis, all in percent of the axis; the good side of the bound is shaded."""

    low: float
    high: float
    estimate: float
    bound: float | None
    good: tuple[float, float] | None


@dataclass(frozen=True)
class RowView:
    """A requirement as a row of the table."""

    label: str
    verdict: str | None
    worst: str
    estimate: str
    interval: str
    n: str
    bound: str
    drawn: Interval | None
    notes: list[str]


@dataclass(frozen=True)
class StageView:
    """The verdict of a stage."""

    stage: str
    verdict: str
    meaning: str
    rows: list[RowView]
    confidence: str
    opened: str


def stage_view(stage: str, verdict: VerdictFile) -> StageView:
    """Puts a verdict file into words."""
    if verdict.sealed:
        opened = f"The split is sealed; it has been opened {verdict.openings} time{'s' * (verdict.openings != 1)}."
    else:
        opened = "The split is not sealed: openings are not counted, so tuning on it is not ruled out."
    return StageView(
        stage,
        verdict.verdict,
        MEANING[verdict.verdict],
        [row_view(row, stage) for row in verdict.requirements],
        f"{verdict.confidence:.0%}".replace("%", " %"),
        opened if stage in ("test", "pilot") else "",
    )


def row_view(row: RequirementRecord, stage: str) -> RowView:
    """Puts a requirement's outcome into words."""
    show = metric_named(row.metric).show
    exact = row.low == row.high == row.estimate
    interval = f"{show(row.low)} to {show(row.high)}" if row.low is not None and row.high is not None else ""
    sign = "≥" if row.direction == "at_least" else "≤"
    more = f" of {len(row.comparisons)}" if len(row.comparisons) > 1 else ""
    return RowView(
        label=row.label,
        verdict=row.verdict,
        worst=f"worst{more}: {row.worst}" if more else "",
        estimate=show(row.estimate) if row.estimate is not None else "–",
        interval="" if exact else interval,
        n=f"n {row.n:,}" if row.estimate is not None and not exact else "",
        bound=f"{sign} {show(row.bound)}" if row.bound is not None else "shown",
        drawn=None if exact else drawn(row),
        notes=_notes(row, stage),
    )


def drawn(row: RequirementRecord) -> Interval | None:
    """Places a row's interval and bound on an axis of their own; None where nothing was measured."""
    if row.estimate is None or row.low is None or row.high is None:
        return None
    values = [row.low, row.high, row.estimate, *([row.bound] if row.bound is not None else [])]
    axis = _padded(scale(values))
    bound = axis.percent(row.bound) if row.bound is not None else None
    good = None
    if bound is not None:
        good = (bound, 100.0) if row.direction == "at_least" else (0.0, bound)
    return Interval(axis.percent(row.low), axis.percent(row.high), axis.percent(row.estimate), bound, good)


def _padded(axis: Scale) -> Scale:
    pad = 0.06 * (axis.high - axis.low)
    return Scale(axis.low - pad, axis.high + pad, axis.ticks)


def _notes(row: RequirementRecord, stage: str) -> list[str]:
    notes = []
    show = metric_named(row.metric).show
    if row.reason:
        notes.append(f"not measured: {row.reason}")
    if row.need is not None:
        more = f"needs about {row.need.images:,} more images" if row.need.images else ""
        notes.append(": ".join(part for part in (more, row.need.of) if part))
        if row.need.note:
            notes.append(row.need.note)
    if row.floor is not None:
        notes.append(
            f"chance alone would give {show(row.floor.mean)} here (5 % of the time past {show(row.floor.quantile)})"
        )
    if row.bound is not None and row.verdict is None:
        notes.append(f"not judged at {stage}, by the objective")
    return notes
