"""The curves of a run: what `metrics.jsonl` says of each epoch."""

from __future__ import annotations

from evensight.report.folder import RunFiles
from evensight.report.lines import Chart, line_chart, series


def curves(run: RunFiles) -> list[Chart]:
    """Returns the charts in the order they are read: loss, accuracy, the worst parts."""
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
        line_chart("Accuracy", accuracy, count, run.rules("accuracy", "overall")),
        line_chart(
            "Worst class",
            [series(epochs, "val/worst_class_recall", "recall of the worst class", "one")],
            count,
            run.rules("recall", "each_class"),
            note=_floor(run, "val/worst_class_recall"),
        ),
    ]
    charts += _of_attributes(run, count)
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
    judged = {row.parameters.get("attribute") for row in run.requirements} - {None}
    names = sorted(run.levels, key=lambda name: (name not in judged, name))
    shown = [name for name in names if name in judged] or names[:1]
    for name in shown:
        parts = [
            series(run.epochs, f"val/conflicting_accuracy/{name}", "conflicting images", "two"),
            series(run.epochs, f"val/worst_group_accuracy/{name}", f"worst {name}", "one"),
        ]
        rules = run.rules("accuracy", "conflicting", attribute=name) if parts[0] else []
        rules = rules or run.rules("accuracy", "each_group", attribute=name)
        key = f"val/worst_group_accuracy/{name}"
        charts.append(line_chart(f"Accuracy by {name}", parts, count, rules, note=_floor(run, key)))
        gap = [series(run.epochs, f"val/gap/{name}", f"largest gap between two levels of {name}", "one")]
        rules = run.rules("accuracy", "gap", attribute=name)
        charts.append(line_chart(f"Gap over {name}", gap, count, rules, note=_floor(run, f"val/gap/{name}")))
    return charts


def _floor(run: RunFiles, key: str) -> str:
    """Says what chance alone gives the figure at the last epoch that has it."""
    for line in reversed(run.epochs):
        floor = line.get("floors", {}).get(key)
        if floor:
            return f"Chance alone would give {floor['mean']:.3f} at these counts (last epoch)."
    return ""
