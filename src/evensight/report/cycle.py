"""The page of a cycle, and its last lines, from `cycle.json` and the files that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evensight import __version__
from evensight.files import write_text
from evensight.metrics.intervals import clopper_pearson_lower, clopper_pearson_upper
from evensight.metrics.paired import tango_interval
from evensight.object_file import ObjectFile
from evensight.objective import verdict_file
from evensight.report.lines import STYLES, Chart, Point, Series, Timeline, time_chart
from evensight.report.pictures import data_uri
from evensight.report.report import render
from evensight.report.summary import shown_path, wrapped
from evensight.report.verdicts import MEANING, WORDS, stage_view

FILE, PAGE = "cycle.json", "cycle.html"
ALPHA = 0.05  # of each side of an interval here; requirements have their own in the verdicts
_STORY = ObjectFile("a cycle", "run the cycle again", "there is no cycle; run: evensight cycle experiment=<name>")
KINDS = {"alarm": "alarm", "swap": "swap"}


def read_story(folder: Path) -> dict[str, Any]:
    """Reads the `cycle.json` of a cycle's folder.

    Raises:
        UserError: There is none, or it is broken.
    """
    return _STORY.read(folder / FILE)


def write_cycle_page(folder: Path) -> Path:
    """Writes `cycle.html` of a cycle's folder and returns its path; it needs no network and no other file.

    Raises:
        UserError: The folder holds no cycle.
    """
    story = read_story(folder)
    path = folder / PAGE
    write_text(path, render("cycle.html", _content(folder, story)))
    return path


def cycle_summary(folder: Path, width: int | None = None) -> str:
    """Returns the last lines of a cycle: how it ended, what happened when, where the page is."""
    story = read_story(folder)
    lines = [f"cycle: {story['ended']}"]
    for moment in story["moments"]:
        text = wrapped(f"after {moment['after']:,} requests  {moment['what']}", width)
        lines += [f"  {text[0]}", *(f"    {line}" for line in text[1:])]
    lines.append(f"page      {shown_path(folder / PAGE)}")
    return "\n".join(lines)


def _content(folder: Path, story: Mapping[str, Any]) -> dict[str, Any]:
    timeline = _timeline(story)
    charts = [_accuracy(story, timeline), _reliance(story, timeline)]
    return {
        "version": __version__,
        "name": story.get("experiment", folder.name),
        "purpose": story.get("purpose", ""),
        "ended": story.get("ended", "it did not come to its end"),
        "status": story.get("status"),
        "facts": _facts(story),
        "charts": [chart for chart in charts if chart is not None],
        "waves": story.get("waves", []),
        "moments": story["moments"],
        "models": [_model(folder, model) for model in story.get("models", [])],
        "words": WORDS,
        "meaning": MEANING,
        "steps": story["steps"],
        "pictures": [{**entry, "uri": data_uri(folder / entry["file"])} for entry in story.get("pictures", [])],
        "walk": story.get("walk", []),
        "looks": story["looks"],
    }


def _model(folder: Path, model: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a model's test verdict as the page shows it."""
    view = stage_view("test", verdict_file.read(folder / model["verdict"]))
    rows = [row for row in view.rows if row.verdict]
    return {"name": model["name"], "identity": model["identity"], "verdict": view.verdict, "rows": rows}


def _facts(story: Mapping[str, Any]) -> list[tuple[str, str]]:
    sent = sum(block["n"] for block in story["blocks"])
    looks = len(story["looks"])
    facts = [
        ("requests", f"{sent:,}"),
        ("looks of the monitor", f"{looks}"),
        ("images annotated", f"{story['annotated']:,}" if "annotated" in story else ""),
        ("took", f"{story['seconds'] / 60:.1f} minutes"),
        ("cores", str(story.get("cores", ""))),
        ("started", str(story.get("time", ""))),
    ]
    return [(name, value) for name, value in facts if value]


def _timeline(story: Mapping[str, Any]) -> Timeline:
    spans: list[tuple[float, float, str]] = []
    for block in story["blocks"]:
        first, end, wave = block["first"], block["first"] + block["n"], block["wave"]
        if spans and spans[-1][2] == wave:
            spans[-1] = (spans[-1][0], end, wave)
        else:
            spans.append((first, end, wave))
    length = max((end for _, end, _ in spans), default=1)
    marks = tuple((m["after"], m["what"], m["kind"]) for m in story["moments"] if m["kind"] in KINDS)
    return Timeline(float(length), "requests", marks=marks, spans=tuple(spans))


def _middle(block: Mapping[str, Any]) -> int:
    return int(block["first"] + block["n"] / 2)


def _accuracy(story: Mapping[str, Any], timeline: Timeline) -> Chart | None:
    """Accuracy by the truth, which the cycle alone knows in full, beside what the model's confidence promises."""
    truth, promised = [], []
    for block in story["blocks"]:
        x, n = block["right"], block["n"]
        low, high = float(clopper_pearson_lower(x, n, ALPHA)), float(clopper_pearson_upper(x, n, ALPHA))
        truth.append(Point(_middle(block), x / n, low, high, n))
        promised.append(Point(_middle(block), block["confidence"]))
    parts = [
        Series("accuracy (the truth)", tuple(truth), STYLES[0]),
        Series("mean confidence", tuple(promised), STYLES[1]),
    ]
    return time_chart("Accuracy of the answers", parts, timeline, _rules(story, "accuracy"))


def _reliance(story: Mapping[str, Any], timeline: Timeline) -> Chart | None:
    """Reliance on each cue in the keyed sample: one of the operators of a cue, the one that pulls most."""
    cues = sorted({cue for block in story["blocks"] for cue in block.get("reliance", {})})
    parts = []
    for cue, style in zip(cues, STYLES, strict=False):
        points = []
        for block in story["blocks"]:
            found = block.get("reliance", {}).get(cue)
            if found and found["n"]:
                first, second, n = found["first"], found["second"], found["n"]
                low, high = tango_interval(first, second, n, ALPHA)
                points.append(Point(_middle(block), (first - second) / n, float(low), float(high), n))
        parts.append(Series(f"reliance on {cue}", tuple(points), style))
    return time_chart(
        "Reliance in the sample of live traffic, without a label", parts, timeline, _rules(story, "reliance")
    )


def _rules(story: Mapping[str, Any], metric: str) -> Sequence[tuple[float, str]]:
    return [(rule["bound"], rule["words"]) for rule in story.get("rules", []) if rule["metric"] == metric]
