"""The monitor's `report.html` and its last lines, from `verdicts/monitor.json` alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evensight import __version__
from evensight.files import write_text
from evensight.metrics.paired import tango_interval
from evensight.objective import verdict_file
from evensight.objective.verdict_file import VerdictFile
from evensight.report.charts import (
    STYLES,
    BarChart,
    Chart,
    Point,
    Rule,
    Series,
    Timeline,
    bar_chart,
    time_chart,
)
from evensight.report.figures import Bar
from evensight.report.report import render
from evensight.report.summary import MAX_LINES, requirement_rows, shown_path, wrapped
from evensight.report.verdicts import WORDS, RowView, stage_view

VERDICT, REPORT = Path("verdicts") / "monitor.json", "report.html"
MEANING = {
    "FAIL": "a requirement is not met on live traffic, shown beyond chance however often one looks",
    "INSUFFICIENT": "no requirement has alarmed; nothing is passed for good while the traffic goes on",
    "NOT_MEASURED": "no requirement has alarmed; at least one could not be looked at",
    "PASS": "every requirement is met",  # a monitor never says so
}
KIND_WORDS = {"requirement": "requirement", "shift": "shift", "rejected": "rejected requests"}
NUM_FIRST = 12  # alarms shown in full
NUM_TOLD = 4  # in the last lines
Values = Mapping[str, Any]


def write_monitor_report(folder: Path) -> Path:
    """Writes `report.html` beside `verdicts/monitor.json` and returns its path.

    The page needs no network and no other file, and follows the reader's light or dark setting.

    Raises:
        UserError: The folder holds no verdict of the monitor.
    """
    path = folder / REPORT
    write_text(path, render("monitor.html", _content(verdict_file.read(folder / VERDICT))))
    return path


def monitor_summary(folder: Path, width: int | None = None) -> str:
    """Returns the last lines: verdict, a row a requirement, the first alarms, where the page is.

    Args:
        folder: That the monitor wrote to.
        width: Columns of the terminal; None: there is none, nothing is cut.
    """
    verdict = verdict_file.read(folder / VERDICT)
    alarms = _by_weight(verdict.extra["alarms"])
    lines = wrapped(f"monitor: {verdict.verdict}  ({_counted(alarms)}; {_amount(verdict.extra)})", width)
    told = [part for said in _told(alarms)[:NUM_TOLD] for part in wrapped(f"alarm     {said}", width)]
    if verdict.extra["cut"]:
        told += wrapped(verdict.extra["cut"], width)
    room = max(3, MAX_LINES - len(lines) - len(told) - 1)
    lines += requirement_rows(verdict.model_dump(mode="json"), room, width)
    return "\n".join([*lines, *told, f"report    {shown_path(folder / REPORT)}"])


def _content(verdict: VerdictFile) -> dict[str, Any]:
    extra, alarms = verdict.extra, _by_weight(verdict.extra["alarms"])
    timeline = Timeline(max(1.0, float(extra["num_images"])), "requests", marks=_marks(verdict, alarms))
    return {
        "version": __version__,
        "name": verdict.objective_name,
        "verdict": verdict.verdict,
        "words": WORDS,
        "meaning": MEANING[verdict.verdict],
        "sentence": _sentence(alarms, extra),
        "facts": _facts(extra),
        "alpha": f"{100 * extra['alpha']['all']:g} %",
        "alarms": [_alarm(alarm) for alarm in alarms[:NUM_FIRST]],
        "others": [_alarm(alarm) for alarm in alarms[NUM_FIRST:]],
        "rows": [_row(row) for row in stage_view("monitor", verdict).rows],
        "charts": [chart for chart in _charts(verdict, timeline) if chart is not None],
        "estimated": extra["estimated"],
        "reliance": _reliance(verdict),
        "groups": _groups(verdict),
        "shares": _shares(extra),
        "shift": extra["shift"],
        "log": _log(extra),
        "cut": extra["cut"],
        "identities": [
            ("artifact", str(verdict.artifact)),
            ("objective", verdict.objective),
            ("data (ids read)", verdict.data),
        ],
    }


def _by_weight(alarms: Sequence[Values]) -> list[Values]:
    """Requirements first, then by time."""
    return sorted(alarms, key=lambda alarm: (alarm["kind"] != "requirement", alarm["request"]))


def _told(alarms: Sequence[Values]) -> list[str]:
    """Says the first alarm of each requirement, and how many of its comparisons have alarmed since."""
    first: dict[str, list[Values]] = {}
    for alarm in alarms:
        first.setdefault(alarm["label"], []).append(alarm)
    return [
        f"{_moment(of[0])}: {of[0]['what']}" + (f" ({len(of) - 1} more of it)" if len(of) > 1 else "")
        for of in first.values()
    ]


def _counted(alarms: Sequence[Values]) -> str:
    counts = {kind: sum(alarm["kind"] == kind for alarm in alarms) for kind in KIND_WORDS}
    said = [f"{n} {KIND_WORDS[kind]} alarm{'s' * (n != 1)}" for kind, n in counts.items() if n]
    return ", ".join(said) or "no alarm"


def _amount(extra: Values) -> str:
    return f"{extra['num_images']:,} requests, {extra['labels']['labelled']:,} labelled"


def _moment(alarm: Values) -> str:
    return f"after {alarm['request']:,} requests"


def _sentence(alarms: Sequence[Values], extra: Values) -> str:
    if not extra["num_images"]:
        return "The log holds no prediction of this artifact."
    if not alarms:
        return f"No alarm in {_amount(extra)}."
    first = alarms[0]
    return f"{_moment(first).capitalize()}: {first['what']}."


def _facts(extra: Values) -> list[tuple[str, str]]:
    volume, estimated = extra["volume"], extra["estimated"]
    facts = [("requests", f"{extra['num_images']:,}"), ("labelled", f"{extra['labels']['labelled']:,}")]
    facts.append(("rejected", f"{sum(volume['rejected'].values()):,}"))
    if estimated["estimate"] is not None:
        spoken = f"{estimated['estimate']:.3f} ({estimated['low']:.3f} to {estimated['high']:.3f})"
        facts.append(("estimated accuracy", spoken))
    if volume["first"] is not None:
        facts.append(("from", _clock(volume["first"])))
        facts.append(("to", _clock(volume["last"])))
    return facts


def _clock(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):  # a clock that was wrong
        return f"{seconds:.0f} s"


def _alarm(alarm: Values) -> dict[str, Any]:
    shown = alarm["evidence"]
    if "least" in shown:
        words = f"the difference is at least {shown['least']:.3f} at every look (window {shown['window']})"
    else:
        words = (
            f"evidence of 1 : 10^{shown['log10_e']:.1f} against chance, 10^{shown['log10_needed']:.1f} was needed "
            f"(window {shown['window']}, {alarm['n']:,} images)"
        )
    return {**alarm, "evidence": words, "moment": _moment(alarm), "clock": _clock(alarm["time"])}


def _row(row: RowView) -> RowView:
    """Leaves out what is said above the table: that no row without an alarm is passed."""
    own = [note for note in row.notes if row.verdict != "INSUFFICIENT" or not note.startswith("not measured")]
    return replace(row, notes=own)


def _marks(verdict: VerdictFile, alarms: Sequence[Values]) -> tuple[tuple[float, str, str], ...]:
    return tuple(
        (float(alarm["request"]), f"{_moment(alarm)}: {alarm['what']}", "alarm")
        for alarm in alarms
        if alarm["kind"] == "requirement"
    )


def _charts(verdict: VerdictFile, timeline: Timeline) -> list[Chart | None]:
    lines = verdict.extra["timelines"]
    accuracy = [_series("by labels", lines["accuracy"], 0), _series("estimated", lines["estimated"], 1)]
    bound = _bound(verdict, "accuracy", "overall")
    note = "bands hold for one look at their stretch of images"
    charts = [time_chart("Accuracy", accuracy, timeline, bound, note=note)]
    for cue, operators in lines["reliance"].items():
        parts = [
            _series(name, points, place) for place, (name, points) in enumerate(list(operators.items())[: len(STYLES)])
        ]
        charts.append(time_chart(f"Reliance on {cue}", parts, timeline, _bound(verdict, "reliance", "overall", cue)))
    charts += [_predicted(verdict, timeline), _volume(verdict.extra["volume"])]
    return charts


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


def _predicted(verdict: VerdictFile, timeline: Timeline) -> Chart | None:
    """Shares of the classes that moved most since the test, or else of the first."""
    points, classes = verdict.extra["timelines"]["predicted"], verdict.extra["classes"]
    compared = _stream(verdict.extra, "predicted classes")
    moved = [0.0] * len(classes)
    if compared is not None:
        moved = [abs(now - then) for now, then in zip(compared["now"], compared["then"], strict=True)]
    chosen = sorted(range(len(classes)), key=lambda k: (-moved[k], k))[: len(STYLES)]
    parts = [
        Series(classes[k], tuple(Point(one["last"], one["shares"][k]) for one in points), STYLES[place])
        for place, k in enumerate(chosen)
    ]
    note = "the classes whose share moved most since the test" if len(classes) > len(STYLES) else ""
    return time_chart("Share of each predicted class", parts, timeline, note=note)


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
    timeline = Timeline(max(1.0, (bins[-1]["start"] - start) / size), f"{unit} since {_clock(start)}")
    return time_chart(f"Requests in every {step / size:g} {unit}", parts, timeline, rate=False)


def _unit(step: float) -> tuple[str, int]:
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    return next((name, size) for name, size in units if step % size == 0 or size == 1)


def _reliance(verdict: VerdictFile) -> list[BarChart]:
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


def _groups(verdict: VerdictFile) -> list[BarChart]:
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


def _shares(extra: Values) -> list[dict[str, Any]]:
    """Shares of the classes then and now, as rows of a table."""
    tables = []
    for label in ("predicted classes", "classes by label"):
        found = _stream(extra, label)
        if found is not None and found["n"]:
            rows = list(zip(extra["classes"], found["then"], found["now"], strict=True))
            tables.append({"title": label.capitalize(), "rows": rows, "n": found["n"]})
    return tables


def _log(extra: Values) -> list[tuple[str, str]]:
    labels, volume = extra["labels"], extra["volume"]
    pairs = [
        ("images with a label", f"{labels['labelled']:,}"),
        ("labels in conflict (in no rate)", f"{labels['conflicting']:,}"),
        ("labels given again", f"{labels['repeated']:,}"),
        ("labels after a later model came", f"{labels['late']:,}"),
        ("labels of unknown ids", f"{labels['of_unknown_ids']:,}"),
    ]
    pairs += [(f"rejected: {code}", f"{count:,}") for code, count in volume["rejected"].items()]
    pairs += [(f"answers of {name[:12]}", f"{count:,}") for name, count in extra["identities"].items()]
    return [*pairs, ("file", extra["log"])]
