"""What the network did with each cue while it was trained: what `metrics.jsonl` says of reliance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evensight.report.charts import BarChart, bar_chart
from evensight.report.figures import Bar
from evensight.report.folder import RunFiles
from evensight.report.lines import STYLES, Chart, line_chart, series

RELIANCE, WITHOUT = "val/reliance/", "val/accuracy_without/"
DECIDED, AGAINST = "val/decided_by/", "val/accuracy_against/"
Line = Mapping[str, Any]


def cues_view(run: RunFiles) -> dict[str, Any] | None:
    """Returns the section: reliance over the epochs, and the figures of the last epoch that measured it.

    Returns:
        `charts` of lines; `bars` of the last look; its `epoch`; `largest`, the cue whose classes and groups are shown.
        None where no epoch measured reliance.
    """
    cues = cues_of(run)
    if not cues:
        return None
    last = next(line for line in reversed(run.epochs) if any(RELIANCE + cue in line["metrics"] for cue in cues))
    largest = max(cues, key=lambda cue: _value(last, cue))
    bars = [
        bar_chart(f"Reliance on each cue, epoch {last['epoch'] + 1}", _reliance(last, cues), signed=True),
        _contradicted(last, cues),
        _removed(last, cues),
        _parts(run, last, largest),
    ]
    return {
        "charts": _charts(run, cues, largest),
        "bars": [chart for chart in bars if chart is not None],
        "epoch": int(last["epoch"]) + 1,
        "largest": largest,
    }


def cues_of(run: RunFiles) -> list[str]:
    """Returns the cues on which reliance was measured, in the order in which they were."""
    keys = [key.removeprefix(RELIANCE) for line in run.epochs for key in line["metrics"] if key.startswith(RELIANCE)]
    return list(dict.fromkeys(key for key in keys if "/" not in key))


def _charts(run: RunFiles, cues: list[str], largest: str) -> list[Chart]:
    count = max(int(line["epoch"]) + 1 for line in run.epochs)
    rules = {cue: run.rules("reliance", "overall", cue=cue) for cue in cues}
    stated = list(dict.fromkeys(rule for cue in cues for rule in rules[cue]))
    overview = [series(run.epochs, RELIANCE + cue, cue, STYLES[i % len(STYLES)]) for i, cue in enumerate(cues)]
    fought = [
        series(run.epochs, DECIDED + largest, f"decided as the {largest} says", "two"),
        series(run.epochs, AGAINST + largest, "decided right", "one"),
    ]
    charts = [
        line_chart("Reliance on each cue", overview, count, stated),
        line_chart(f"Images whose {largest} contradicts the label", fought, count),
    ]
    # Operators tell whether a cue was turned off, or one way of measuring it; of cues that nothing asks about, one line
    # is enough.
    charts += [_of_operators(run, cue, count, rules[cue]) for cue in cues if rules[cue] or cue == largest]
    return [chart for chart in charts if chart is not None]


def _of_operators(run: RunFiles, cue: str, count: int, rules: list[tuple[float, str]]) -> Chart | None:
    prefix = f"{RELIANCE}{cue}/"
    keys = [key for line in run.epochs for key in line["metrics"] if key.startswith(prefix) and "=" not in key]
    operators = dict.fromkeys(key.removeprefix(prefix) for key in keys)
    parts = [
        series(run.epochs, prefix + operator, f"operator {operator}", STYLES[i % len(STYLES)])
        for i, operator in enumerate(operators)
    ]
    return line_chart(f"Reliance on {cue}", parts, count, rules) if parts else None


def _value(line: Line, cue: str) -> float:
    value = line["metrics"].get(RELIANCE + cue)
    return -1.0 if value is None else float(value)


def _bar(line: Line, key: str, name: str, note: str = "") -> Bar | None:
    value = line["metrics"].get(key)
    if value is None:
        return None
    low, high, n = line.get("intervals", {}).get(key, (value, value, 0))
    return Bar(name, float(value), float(low), float(high), int(n), note)


def _reliance(line: Line, cues: list[str]) -> list[Bar]:
    found = [_bar(line, RELIANCE + cue, cue) for cue in cues]
    return sorted((bar for bar in found if bar is not None), key=lambda bar: -(bar.estimate or 0.0))


def _contradicted(line: Line, cues: list[str]) -> BarChart | None:
    """Who decides the images of which a cue says another class than the label."""
    bars = []
    for cue in sorted(cues, key=lambda cue: -_value(line, cue)):
        bars += [
            _bar(line, DECIDED + cue, f"{cue}: as it says"),
            _bar(line, AGAINST + cue, f"{cue}: right"),
        ]
    known = [bar for bar in bars if bar is not None]
    return bar_chart("How images are decided whose cue contradicts the label", known) if known else None


def _removed(line: Line, cues: list[str]) -> BarChart | None:
    found = [_bar(line, WITHOUT + cue, f"without {cue}") for cue in cues]
    known = [bar for bar in found if bar is not None]
    whole = _bar(line, "val/accuracy", "images as they are")
    if not known:
        return None
    note = "a network that never saw images without a cue may fail on them for that alone"
    return bar_chart("Accuracy without a cue", [*([whole] if whole else []), *known], note=note)


def _parts(run: RunFiles, line: Line, cue: str) -> BarChart | None:
    """Reliance on a cue in every class and group, with the accuracy of the same class or group."""
    prefix = f"{RELIANCE}{cue}/"
    bars = []
    for key in (key for key in line["metrics"] if key.startswith(prefix) and "=" in key):
        attribute, _, level = key.removeprefix(prefix).partition("=")
        same = f"val/recall/{level}" if attribute == "class" else f"val/group_accuracy/{attribute}/{level}"
        accuracy = line["metrics"].get(same)
        note = "" if accuracy is None else f"accuracy {accuracy:.3f}"
        name = level if attribute == "class" else f"{attribute} {level}"
        bars.append(_bar(line, key, name, note))
    known = [bar for bar in bars if bar is not None]
    bound = next(iter(run.rules("reliance", "overall", cue=cue)), None)
    return bar_chart(f"Reliance on {cue} by class and group", known, bound, signed=True) if known else None
