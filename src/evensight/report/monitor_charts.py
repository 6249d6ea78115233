"""The charts and tables of the monitor's page, laid out from `verdicts/monitor.json`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evensight.metrics.paired import tango_interval
from evensight.objective.verdict_file import VerdictFile
from evensight.report.charts import BarChart, Rule, bar_chart
from evensight.report.figures import Bar
from evensight.report.lines import STYLES, Chart, Point, Series, Timeline, time_chart

Values = Mapping[str, Any]


def _timeline(extra: Values, alarms: Iterable[Values]) -> Timeline:
    """The axis of all requests, with the first alarm of each requirement or shift as a mark."""
    first = [of[0] for of in by_label(list(alarms))]
    marks = tuple((float(one["request"]), f"{moment_of(one)}: {one['what']}", "alarm") for one in first)
    return Timeline(max(1.0, float(extra["num_images"])), "requests", marks=marks)


def charts_of(verdict: VerdictFile) -> list[Chart | None]:
    """Accuracy, reliance on each cue, shares of predicted classes, requests; None where there is nothing to draw."""
    extra, lines = verdict.extra, verdict.extra["timelines"]
    of_cues = {row.label: row.parameters["cue"] for row in verdict.requirements if "cue" in row.parameters}
    failed = [alarm for alarm in extra["alarms"] if alarm["kind"] == "requirement"]
    accuracy = [_series("by labels", lines["accuracy"], 0), _series("estimated", lines["estimated"], 1)]
    marked = _timeline(extra, [alarm for alarm in failed if alarm["label"] not in of_cues])
    note = "bands hold for one look at their stretch of images"
    charts = [time_chart("Accuracy", accuracy, marked, _bound(verdict, "accuracy", "overall"), note=note)]
    for cue, operators in lines["reliance"].items():
        marked = _timeline(extra, [alarm for alarm in failed if of_cues.get(alarm["label"]) == cue])
        named = list(operators.items())[: len(STYLES)]
        parts = [_series(name, points, place) for place, (name, points) in enumerate(named)]
        charts.append(time_chart(f"Reliance on {cue}", parts, marked, _bound(verdict, "reliance", "overall", cue)))
    return [*charts, _predicted(extra), _volume(extra["volume"])]


def _series(name: str, points: Iterable[Values], style: int) -> Series:
    known = tuple(
        Point(point["last"], point["estimate"], point["low"], point["high"], point["n"])
        for point in points
        if point["estimate"] is not None
    )
    return Series(name, known, STYLES[style])


def _bound(verdict: VerdictFile, metric: str, scope: str, cue: str | None = None) -> list[Rule]:
    for row in verdict.requirements:
        same = row.metric == metric and row.scope == scope and row.parameters.get("cue") == cue
        if same and row.bound is not None:
            return [(row.bound, f"required {'≥' if row.direction == 'at_least' else '≤'} {row.bound:g}")]
    return []


def _predicted(extra: Values) -> Chart | None:
    """Shares of the classes that moved most since the test, or else of the first."""
    points, classes = extra["timelines"]["predicted"], extra["classes"]
    compared = _stream(extra, "predicted classes")
    moved = [0.0] * len(classes)
    if compared is not None:
        moved = [abs(now - then) for now, then in zip(compared["now"], compared["then"], strict=True)]
    chosen = sorted(range(len(classes)), key=lambda k: (-moved[k], k))[: len(STYLES)]
    parts = [
        Series(classes[k], tuple(Point(one["last"], one["shares"][k]) for one in points), STYLES[place])
        for place, k in enumerate(chosen)
    ]
    note = "the classes whose share moved most since the test" if len(classes) > len(STYLES) else ""
    marked = _timeline(extra, [alarm for alarm in extra["alarms"] if alarm["kind"] == "shift"])
    return time_chart("Share of each predicted class", parts, marked, note=note)


def _volume(volume: Values) -> Chart | None:
    bins = volume["bins"]
    if len(bins) < 2:
        return None
    step, start = volume["step"], bins[0]["start"]
    unit, size = _unit(step)
    parts = [
        Series(name, tuple(Point(round((one["start"] - start) / size), one[key]) for one in bins), STYLES[place])
        for place, (name, key) in enumerate((("answered", "predicted"), ("rejected", "rejected")))
    ]
    timeline = Timeline(max(1.0, (bins[-1]["start"] - start) / size), f"{unit} since {clock(start)}")
    return time_chart(f"Requests in every {step / size:g} {unit}", parts, timeline, rate=False)


def _unit(step: float) -> tuple[str, int]:
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    return next((name, size) for name, size in units if step % size == 0 or size == 1)


def reliance_charts(verdict: VerdictFile) -> list[BarChart]:
    """Reliance over the whole log beside that of the test, against the bound."""
    alpha, charts = 1 - verdict.confidence, []
    at_test = verdict.extra["at_test"].get("reliance", {})
    for row in verdict.requirements:
        cue = row.parameters.get("cue")
        if row.metric != "reliance" or not row.comparisons:
            continue
        bars = []
        for one in row.comparisons:
            bars.append(Bar(f"{one.name}, live", one.estimate, one.low or 0.0, one.high or 0.0, one.n))
            then = at_test.get(cue, {}).get(one.name)
            if then and then["n"]:
                low, high = tango_interval(then["first"], then["second"], then["n"], alpha)
                estimate = (then["first"] - then["second"]) / then["n"]
                bars.append(Bar(f"{one.name}, at the test", estimate, float(low), float(high), then["n"]))
        rules = _bound(verdict, "reliance", "overall", cue)
        charts.append(bar_chart(f"Reliance on {cue}", bars, rules[0] if rules else None, signed=True))
    return charts


def group_charts(verdict: VerdictFile) -> list[BarChart]:
    """Accuracy of each level by labels; where there are none, as estimated from confidence."""
    charts = []
    for name, levels in verdict.extra["groups"].items():
        labelled = any(level["accuracy"]["n"] for level in levels)
        key, words = ("accuracy", "Accuracy") if labelled else ("estimated", "Estimated accuracy")
        bars = [
            Bar(
                level["level"],
                one["estimate"],
                one["low"] or 0.0,
                one["high"] or 0.0,
                one["n"],
                f"{level['share']:.0%} of requests".replace("%", " %"),
            )
            for level in levels
            for one in [level[key]]
        ]
        if any(bar.n for bar in bars):
            charts.append(bar_chart(f"{words} of each {name}", bars))
    return charts


def _stream(extra: Values, label: str) -> Values | None:
    return next((one for one in extra["shift"]["compared"] if one["label"] == label and one["then"]), None)


def share_tables(extra: Values) -> list[dict[str, Any]]:
    """Shares of the classes then and now, as rows of a table."""
    tables = []
    for label in ("predicted classes", "classes by label"):
        found = _stream(extra, label)
        if found is not None and found["n"]:
            rows = list(zip(extra["classes"], found["then"], found["now"], strict=True))
            tables.append({"title": label.capitalize(), "rows": rows, "n": found["n"]})
    return tables


def by_label(alarms: Sequence[Values]) -> list[list[Values]]:
    """Parts alarms by what they are of, in the order of the first of each."""
    found: dict[str, list[Values]] = {}
    for alarm in alarms:
        found.setdefault(alarm["label"], []).append(alarm)
    return list(found.values())


def moment_of(alarm: Values) -> str:
    """Says when an alarm came, by the requests before it."""
    return f"after {alarm['request']:,} requests"


def clock(seconds: float) -> str:
    """Writes a time since 1970 as date and time, UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):  # a clock that was wrong
        return f"{seconds:.0f} s"
