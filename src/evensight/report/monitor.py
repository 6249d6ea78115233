"""The monitor's `report.html` and its last lines, from `verdicts/monitor.json` alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evensight import __version__
from evensight.files import write_text
from evensight.objective import verdict_file
from evensight.objective.verdict_file import VerdictFile
from evensight.report.monitor_charts import (
    Values,
    by_label,
    charts_of,
    clock,
    group_charts,
    moment_of,
    reliance_charts,
    share_tables,
)
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
NUM_TOLD = 4  # in the last lines


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
    return {
        "version": __version__,
        "name": verdict.objective_name,
        "verdict": verdict.verdict,
        "words": WORDS,
        "meaning": MEANING[verdict.verdict],
        "sentence": _sentence(alarms, extra),
        "facts": _facts(extra),
        "alpha": f"{100 * extra['alpha']['all']:g} %",
        "purpose": extra["purpose"],
        "alarms": [{**_alarm(of[0]), "others": [_alarm(one) for one in of[1:]]} for of in by_label(alarms)],
        "rows": [_row(row) for row in stage_view("monitor", verdict).rows],
        "charts": [chart for chart in charts_of(verdict) if chart is not None],
        "estimated": extra["estimated"],
        "reliance": reliance_charts(verdict),
        "groups": group_charts(verdict),
        "shares": share_tables(extra),
        "shift": extra["shift"]
        | {
            "compared": [
                {**one, "evidence": _odds(one["log10_e"]) or "–", "needed": _odds(one["log10_needed"]) or "–"}
                for one in extra["shift"]["compared"]
            ]
        },
        "kinds": KIND_WORDS,
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
    return [
        f"{moment_of(of[0])}: {of[0]['what']}" + (f" ({len(of) - 1} more of it)" if len(of) > 1 else "")
        for of in by_label(alarms)
    ]


def _counted(alarms: Sequence[Values]) -> str:
    counts = {kind: sum(alarm["kind"] == kind for alarm in alarms) for kind in KIND_WORDS}
    said = [f"{n} {KIND_WORDS[kind]} alarm{'s' * (n != 1)}" for kind, n in counts.items() if n]
    return ", ".join(said) or "no alarm"


def _amount(extra: Values) -> str:
    return f"{extra['num_images']:,} requests, {extra['labels']['labelled']:,} labelled"


def _sentence(alarms: Sequence[Values], extra: Values) -> str:
    if not extra["num_images"]:
        return "The log holds no prediction of this artifact."
    if not alarms:
        return f"No alarm in {_amount(extra)}."
    first = alarms[0]
    return f"{moment_of(first).capitalize()}: {first['what']}."


def _facts(extra: Values) -> list[tuple[str, str]]:
    volume, estimated = extra["volume"], extra["estimated"]
    facts = [("requests", f"{extra['num_images']:,}"), ("labelled", f"{extra['labels']['labelled']:,}")]
    facts.append(("rejected", f"{sum(volume['rejected'].values()):,}"))
    if estimated["estimate"] is not None:
        spoken = f"{estimated['estimate']:.3f} ({estimated['low']:.3f} to {estimated['high']:.3f})"
        facts.append(("estimated accuracy", spoken))
    if volume["first"] is not None:
        facts.append(("from", clock(volume["first"])))
        facts.append(("to", clock(volume["last"])))
    return facts


def _alarm(alarm: Values) -> dict[str, Any]:
    shown = alarm["evidence"]
    if "least" in shown:
        words = f"the difference is at least {shown['least']:.3f} at every look (window {shown['window']})"
    else:
        words = (
            f"evidence of {_odds(shown['log10_e'])} against chance, {_odds(shown['log10_needed'])} was needed "
            f"(window {shown['window']}, {alarm['n']:,} images)"
        )
    return {**alarm, "evidence": words, "moment": moment_of(alarm), "clock": clock(alarm["time"])}


def _odds(log10: float | None) -> str:
    if log10 is None:
        return ""
    if log10 < 0:
        return "below 1"
    return f"{10**log10:,.0f} : 1" if log10 < 6 else f"10^{log10:.0f} : 1"


def _row(row: RowView) -> RowView:
    """Leaves out what is said above the table: that no row without an alarm is passed."""
    own = [note for note in row.notes if row.verdict != "INSUFFICIENT" or not note.startswith("not measured")]
    return replace(row, notes=own)


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
