"""The page: every row with its seeds, both intervals, its targets, and what others report who were told the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bias_table.record import number, span, target_words
from bias_table.row import KINDS
from evensight.report.charts import Scale, scale
from evensight.report.report import TEMPLATES

FIGURES = {
    "accuracy": "accuracy on all test images",
    "conflicting": "accuracy on conflicting test images",
    "worst_class": "accuracy of the worst class",
    "reliance": "reliance",
    "redraw": "decided by the redrawn cue",
    "passes": "share of seeds that pass the objective",
    "alarms": "share of data sets with an alarm",
    "refused": "refused",
    "gain": "gain over the baseline",
    "epoch_ratio": "seconds an epoch / the baseline's",
    "images_per_second": "training images/s",
    "training_seconds": "training seconds",
    "command_seconds": "seconds of the whole command",
}
# Shown below a row beside the figure it is judged by.
BESIDE = ("accuracy", "conflicting", "worst_class", "reliance", "redraw", "passes", "alarms")
COST = ("images_per_second", "training_seconds", "command_seconds")


def page(found: Mapping[str, Any]) -> str:
    """Returns the page of a record: self-contained HTML in the style of the reports."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    sections = [_section(name, rows) for name, rows in _by_section(found["rows"]).items()]
    return environment.get_template("page.html").render(
        style=style, found=found, sections=sections, counted=counted(found["rows"]), facts=_facts(found)
    )


def counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Returns how many targets are met, missed and not measured."""
    states = [target["met"] for row in rows for target in row["targets"]]
    return {"met": states.count(True), "missed": states.count(False), "open": states.count(None)}


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = found["rows"]
    commits = sorted({str(run["made_on"]["commit"])[:10] for row in rows for run in row["runs"]})
    return [
        ("runs", f"{sum(len(row['runs']) for row in rows):,}"),
        *_hardware(rows),
        ("commits", ", ".join(commits)),
    ]


def _hardware(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns every machine and version that a run was made on, as the runs say."""
    made = [run["made_on"] for row in rows for run in row["runs"]]
    machines = {f"{one['processor']}, {one['cores']} cores, processes of one thread each" for one in made}
    gpus = {name for one in made for name in one.get("gpus", ())}
    versions = {one["torch"] for one in made if "torch" in one}
    named = (("processor", machines), ("GPU", gpus), ("torch", versions))
    return [(name, "; ".join(sorted(found))) for name, found in named if found]


def _by_section(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["section"], []).append(row)
    return found


def _section(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a section with its rows on one axis."""
    drawn = [number for row in rows for number in _drawn(row)]
    axis = scale(drawn, least=0.0, most=1.0)
    return {"name": name, "axis": axis, "rows": [_row(row, axis) for row in rows]}


def _drawn(row: Mapping[str, Any]) -> list[float]:
    """Returns what the axis of a row has to hold."""
    over = row["figures"].get(row["figure"])
    values = [] if over is None else [over["least"], over["most"]]
    values += [target["bound"] for target in row["targets"] if target["figure"] == row["figure"]]
    best = row["published"]["best"]
    return values + ([] if best is None or row["figure"] != "accuracy" else [best["value"] / 100])


def _row(row: Mapping[str, Any], axis: Scale) -> dict[str, Any]:
    over, sample = row["figures"].get(row["figure"]), row["sampling"].get(row["figure"])
    return {
        "name": row["name"],
        "title": row["title"],
        "told": row["told"],
        "kind": KINDS[row["told"]],
        "figure": FIGURES[row["figure"]],
        "mean": None if over is None else number(over["mean"]),
        "said": _said(row, over, sample),
        "track": None if over is None else _track(row, over, axis),
        "targets": [{"words": words(target), "state": state(target)} for target in row["targets"]],
        "like": _listed(row["published"]["like"], told=False),
        "other": _listed(row["published"]["other"], told=True),
        "margin": _margin(row["published"]),
        "beside": [(FIGURES[name], _mean(row["figures"][name])) for name in BESIDE if _is_beside(row, name)],
        "cost": [(FIGURES[name], f"{row['figures'][name]['mean']:,.0f}") for name in COST if name in row["figures"]],
        "against": _against(row),
        "sentences": [run["sentence"] for run in row["runs"] if "sentence" in run],
        "command": row["command"],
        "audited_first": row["audited_first"],
        "selection": row["selection"],
        "note": row["note"],
        "runs": [_run(run, row["cue"]) for run in row["runs"]],
    }


def _is_beside(row: Mapping[str, Any], name: str) -> bool:
    alarms_alone = name != "alarms" or "train" not in row["runs"][0]["seconds"]
    return name != row["figure"] and name in row["figures"] and alarms_alone


def _said(row: Mapping[str, Any], over: Mapping[str, Any] | None, sample: Mapping[str, Any] | None) -> str:
    """Returns spread over seeds and sampling interval in words; each says something else."""
    if over is None:
        return ""
    seeds = f"{over['n']} of {row['seeds_wanted']} seeds"
    if over["sd"] is not None:
        seeds += f", sd {number(over['sd'])}, interval of the mean {span(over)}"
    images = "" if sample is None else f"; {sample['n']:,} test images leave {span(sample)}"
    return seeds + images


def _track(row: Mapping[str, Any], over: Mapping[str, Any], axis: Scale) -> dict[str, Any]:
    """Returns where things are drawn, in percent of the axis."""
    bound = next((one["bound"] for one in row["targets"] if one["figure"] == row["figure"]), None)
    best = row["published"]["best"] if row["figure"] == "accuracy" else None
    seeds = [run[row["figure"]]["estimate"] for run in row["runs"] if run.get(row["figure"])]
    return {
        "span": None if over["low"] is None else (axis.percent(over["low"]), 100 - axis.percent(over["high"])),
        "dot": axis.percent(over["mean"]),
        "seeds": [axis.percent(one) for one in seeds],
        "bound": None if bound is None else axis.percent(bound),
        "best": None if best is None else (axis.percent(best["value"] / 100), f"{best['method']} {best['value']:g} %"),
    }


def words(target: Mapping[str, Any]) -> str:
    """Returns a target in the words of the page."""
    return target_words({**target, "figure": FIGURES.get(target["figure"], target["figure"])})


def state(target: Mapping[str, Any]) -> str:
    """Returns the class that colours a target: that of a verdict."""
    if target["met"] is None:
        return "NOT_MEASURED"
    if not target["met"]:
        return "FAIL"
    return "INSUFFICIENT" if target["sure"] is False else "PASS"


def _listed(figures: Sequence[Mapping[str, Any]], told: bool) -> str:
    def one(entry: Mapping[str, Any]) -> str:
        spread = "" if entry["spread"] is None else f" ± {entry['spread']:g}"
        return f"{entry['method']} {entry['value']:g}{spread}" + (f" (told {entry['told']})" if told else "")

    return ", ".join(one(entry) for entry in sorted(figures, key=lambda entry: -entry["value"]))


def _margin(published: Mapping[str, Any]) -> str:
    if published["margin"] is None:
        return ""
    way = "above" if published["margin"] >= 0 else "below"
    return f"{abs(published['margin']):.1f} points {way} {published['best']['method']}"


def _against(row: Mapping[str, Any]) -> str:
    found = row["against"]
    if found is None:
        return ""
    gain = found["gain"]
    interval = f" ({span(gain)}, {gain['n']} seeds)" if gain["low"] is not None else " (difference of means)"
    ratio = "" if found["epoch_ratio"] is None else f"; an epoch takes {found['epoch_ratio']:.2f} times as long"
    return f"{row['baseline']}: {gain['mean']:+.4f}{interval}{ratio}"


def _mean(over: Mapping[str, Any]) -> str:
    interval = f" ({span(over)})" if over["low"] is not None and over["sd"] else ""
    return f"{number(over['mean'])}{interval}"


def _run(run: Mapping[str, Any], cue: str) -> dict[str, str]:
    """Returns the cells of a run's line."""
    cells = {"seed": str(run["seed"])}
    for name in ("accuracy", "conflicting", "worst_class"):
        rate = run.get(name)
        cells[FIGURES[name]] = "" if not rate else f"{number(rate['estimate'])} ({span(rate)})"
    operators = run.get("reliance", {}).get(cue, {})
    relied = [f"{name} {number(one['estimate'])} ({span(one)})" for name, one in operators.items()]
    redraw = run.get("redraw", {}).get(cue)
    cells[f"reliance on {cue}"] = "; ".join(relied)
    cells["by redraw"] = "" if redraw is None else f"{number(redraw['estimate'])} ({span(redraw)})"
    cells["verdict"] = run.get("test", {}).get("verdict", "")
    cells["alarms"] = ", ".join(run.get("audit", {}).get("alarms", []))
    cells["seconds"] = f"{sum(run['seconds'].values()):,.0f}"
    return cells
