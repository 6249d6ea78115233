"""The curves of a run: what `metrics.jsonl` says of each epoch."""

from __future__ import annotations

from evensight.objective.verdict_file import RequirementRecord
from evensight.report.charts import Chart, Series, line_chart, series
from evensight.report.folder import RunFiles

Rule = tuple[float, str]


def curves(run: RunFiles) -> list[Chart]:
    """Returns the charts in the order they are read: loss, accuracy, the worst parts, what pulls the decision."""
    epochs, count = run.epochs, max((int(line["epoch"]) + 1 for line in run.epochs), default=0)
    if not epochs:
        return []
    loss = [series(epochs, "train/loss", "training", "two"), series(epochs, "val/loss", "validation", "one")]
    accuracy = [
        series(epochs, "train/accuracy", "training, augmented", "two"),
        series(epochs, "val/accuracy", "validation", "one"),
    ]
    charts = [
        line_chart("Loss", loss, count, rate=False),
        line_chart("Accuracy", accuracy, count, _bound(run, "accuracy", "overall")),
        line_chart(
            "Worst class",
            [series(epochs, "val/worst_class_recall", "recall of the worst class", "one")],
            count,
            _bound(run, "recall", "each_class"),
            note=_floor(run, "val/worst_class_recall"),
        ),
    ]
    charts += _of_attributes(run, count)
    charts += _of_cues(run, count)
    return [chart for chart in charts if chart is not None]


def speed(run: RunFiles) -> str:
    """Says how fast training was: the median over the epochs, and the time of all epochs."""
    rates = sorted(float(line["metrics"].get("train/images_per_second") or 0.0) for line in run.epochs)
    seconds = sum(float(line.get("seconds", 0.0)) for line in run.epochs)
    if not rates:
        return ""
    return f"{rates[len(rates) // 2]:,.0f} images/s, {len(rates)} epochs in {seconds:,.0f} s"


def _of_attributes(run: RunFiles, count: int) -> list[Chart | None]:
    charts: list[Chart | None] = []
    judged = {row.parameters.get("attribute") for row in _requirements(run)} - {None}
    names = sorted(run.levels, key=lambda name: (name not in judged, name))
    shown = [name for name in names if name in judged] or names[:1]
    for name in shown:
        parts = [
            series(run.epochs, f"val/conflicting_accuracy/{name}", "conflicting images", "two"),
            series(run.epochs, f"val/worst_group_accuracy/{name}", f"worst {name}", "one"),
        ]
        rules = _bound(run, "accuracy", "conflicting", attribute=name) if parts[0] else []
        rules = rules or _bound(run, "accuracy", "each_group", attribute=name)
        key = f"val/worst_group_accuracy/{name}"
        charts.append(line_chart(f"Accuracy by {name}", parts, count, rules, note=_floor(run, key)))
        gap = [series(run.epochs, f"val/gap/{name}", f"largest gap between two levels of {name}", "one")]
        rules = _bound(run, "accuracy", "gap", attribute=name)
        charts.append(line_chart(f"Gap over {name}", gap, count, rules, note=_floor(run, f"val/gap/{name}")))
    return charts


def _of_cues(run: RunFiles, count: int) -> list[Chart | None]:
    prefix = "val/reliance/"
    keys = sorted({key for line in run.epochs for key in line["metrics"] if key.startswith(prefix)})
    cues: dict[str, list[str]] = {}
    for key in keys:
        cue, _, operator = key.removeprefix(prefix).partition("/")
        cues.setdefault(cue, []).extend([operator] if operator else [])
    charts: list[Chart | None] = []
    for cue, operators in cues.items():
        styles = ("one", "two", "three")
        parts: list[Series | None] = [
            series(run.epochs, f"{prefix}{cue}/{operator}", f"operator {operator}", styles[number % 3])
            for number, operator in enumerate(operators)
        ] or [series(run.epochs, f"{prefix}{cue}", cue, "one")]
        charts.append(line_chart(f"Reliance on {cue}", parts, count, _bound(run, "reliance", "overall", cue=cue)))
    return charts


def _requirements(run: RunFiles) -> list[RequirementRecord]:
    return run.stages[0].verdict.requirements if run.stages else []


def _bound(run: RunFiles, metric: str, scope: str, **parameters: str) -> list[Rule]:
    """Returns the rule of the requirement that bounds this figure, if one does."""
    for row in _requirements(run):
        named = all(row.parameters.get(key) == value for key, value in parameters.items())
        if row.metric == metric and row.scope == scope and named and row.bound is not None:
            sign = "≥" if row.direction == "at_least" else "≤"
            return [(row.bound, f"{row.label} {sign} {row.bound:g}")]
    return []


def _floor(run: RunFiles, key: str) -> str:
    """Says what chance alone gives the figure at the last epoch that has it."""
    for line in reversed(run.epochs):
        floor = line.get("floors", {}).get(key)
        if floor:
            return f"Chance alone would give {floor['mean']:.3f} at these counts (last epoch)."
    return ""
