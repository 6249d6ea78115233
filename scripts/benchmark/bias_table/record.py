"""The JSON file of the table, and the table as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bias_table import rates, summary
from bias_table.jobs import THREADS, Job, made_on
from bias_table.row import SELECTED, UNSELECTED, Row

SCHEMA_VERSION = 1


def record(rows: Sequence[Row], folder: Path, quick: bool, command: str) -> dict[str, Any]:
    """Returns what the file holds: how it was made, and every row that has a run.

    Args:
        rows: Of the table, in its order.
        folder: Where results are stored.
        quick: Whether they are the small ones, which stand for nothing.
        command: That was typed.
    """
    runs = {row.name: stored(row, folder, quick) for row in rows}
    tried = {row.name: found for row in rows if (found := rates.tried(row, folder))}
    return {
        "schema_version": SCHEMA_VERSION,
        "quick": quick,
        "command": command,
        "environment": made_on(),
        "threads": {"processes": "one a core", **THREADS},
        "confidence": summary.CONFIDENCE,
        "selection": SELECTED if tried else UNSELECTED,
        "learning_rates": {name: _tried(found) for name, found in tried.items()},
        "rows": [_row(row, runs[row.name], runs.get(row.baseline or "", [])) for row in rows if runs[row.name]],
    }


def _tried(found: Sequence[tuple[float, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [{"lr": lr, "worst_class": run["worst_class"], "accuracy": run["accuracy"]} for lr, run in found]


def stored(row: Row, folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Returns the results of a row that its present command made, by seed."""
    found = [Job(row, seed, folder, quick).stored() for seed in range(1, row.seeds + 1)]
    return [{**one, "cue": row.cue} for one in found if one is not None]


def _row(row: Row, runs: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> dict[str, Any]:
    about = ("section", "title", "told", "figure", "baseline", "selection", "note", "cue")
    first = Job(row, 1, Path(), bool(runs[0]["quick"]))
    return {
        "name": row.name,
        **{key: getattr(row, key) for key in about},
        "command": " ".join(_words("train" if row.trained else "audit", first.overrides)),
        "audited_first": row.audit and row.trained,
        "seeds_wanted": row.seeds,
        # What was made small is not meant to reach anything.
        **summary.of_row(replace(row, targets=()) if runs[0]["quick"] else row, runs, baseline),
        "runs": [rounded(slim(run)) for run in runs],
    }


def slim(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a run without what its row says; all of it stays under `--runs-dir`, in `results`."""
    kept = {key: value for key, value in run.items() if key not in ("row", "quick", "overrides", "cue")}
    if "classes" in kept:
        kept["classes"] = {name: rate["estimate"] for name, rate in kept["classes"].items()}
        kept["decided_by"] = {one["attribute"]: one["share"] for one in kept.get("decided_by", [])}
        kept.pop("validation", None)
    return kept


def rounded(value: Any) -> Any:
    """Returns plain values with six digits after the point."""
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


def text(found: Mapping[str, Any]) -> str:
    """Returns the file: JSON with a line a row, so that a row that is measured anew is a line that differs."""
    head = {key: value for key, value in found.items() if key != "rows"}
    rows = ",\n".join(json.dumps(rounded(row), ensure_ascii=False, allow_nan=False) for row in found["rows"])
    return json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}") + f',\n  "rows": [\n{rows}\n  ]\n}}\n'


def _words(command: str, overrides: Sequence[str]) -> list[str]:
    """Returns the command without the settings that only make runs comparable."""
    left_out = ("seed=", "data.seed=", "trainer.num_threads=", "trainer.progress=")
    kept = [one for one in overrides if not one.startswith(left_out)]
    return ["evensight", command, *(f"'{one}'" if set(one) & set(" {[") else one for one in kept)]


def line_of(job: Job, result: Mapping[str, Any]) -> str:
    """Returns a finished run in words."""
    run = {**result, "cue": job.row.cue}
    said = [f"{job.row.name} seed {job.seed}:"]
    for figure in ("accuracy", "conflicting", "reliance", "redraw"):
        number = summary.value(run, figure)
        if number is not None:
            said.append(f"{figure} {number:.4f}")
    if "test" in run:
        said.append(run["test"]["verdict"])
    if "refused" in run:
        said.append(f"status {run['status']}: {run['sentence']}")
    if "audit" in run:
        said.append(f"{len(run['audit']['alarms'])} alarms")
    return " ".join([*said, f"({sum(run['seconds'].values()):.0f} s)"])


def markdown(found: Mapping[str, Any]) -> str:
    """Returns the table: a line a row."""
    heads = ("row", "told", "seeds", "figure", "mean", "sd over seeds", "interval over seeds", "sampling", "targets")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in found["rows"]:
        over = row["figures"].get(row["figure"], {})
        sample = row["sampling"].get(row["figure"])
        cells = (
            row["name"],
            row["told"],
            len(row["runs"]),
            row["figure"],
            number(over.get("mean")),
            number(over.get("sd")),
            span(over),
            "" if sample is None else f"{span(sample)} (n {sample['n']:,})",
            "; ".join(target_words(target) for target in row["targets"]),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def target_words(target: Mapping[str, Any]) -> str:
    """Returns a target and whether it is met, in words."""
    sign = ">=" if target["at_least"] else "<="
    every = " in every seed" if target["every"] else ""
    if target["met"] is None:
        state = "not measured"
    else:
        unsure = " by the mean, not by its interval" if target["met"] and target["sure"] is False else ""
        state = f"{number(target['reached'])}, {'met' if target['met'] else 'MISSED'}{unsure}"
    return f"{target['figure']} {sign} {target['bound']:g}{every}: {state}"


def number(value: float | None) -> str:
    """Returns a figure with four digits after the point, large ones with one; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def span(interval: Mapping[str, Any]) -> str:
    """Returns both ends of an interval, nothing where there is none."""
    if interval.get("low") is None:
        return ""
    return f"{number(interval['low'])} to {number(interval['high'])}"
