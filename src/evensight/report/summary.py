"""The last lines of a run: at most 15, from the files it left."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

MAX_LINES = 15
STAGES = ("validation", "test", "pilot")
# Worst first: what a reader has to see when not every row fits.
ORDER = {"FAIL": 0, "NOT_MEASURED": 1, "INSUFFICIENT": 2, "PASS": 3, None: 4}


def summary(run_folder: Path) -> str:
    """Returns the verdict, a row a requirement, what stands out, where the files are and what to try next.

    Args:
        run_folder: A run folder; `verdicts/` may be missing (`export=false`).
    """
    verdicts = {stage: _read(run_folder / "verdicts" / f"{stage}.json") for stage in STAGES}
    found = [(stage, verdict) for stage, verdict in verdicts.items() if verdict is not None]
    tail = [f"report    {_shown(run_folder / 'report.html')}"]
    if not found:
        return "\n".join(["no verdict: export=false writes no artifact to judge.", *tail])
    stage, last = found[-1]
    tail.append(f"artifact  {_shown(run_folder / 'artifact')}")
    tail.append(f"next      {_next(run_folder, stage, last)}")
    keep = _keep(_read(run_folder / "environment.json") or {})
    tail += [f"keep      {keep}"] if keep else []
    head = [_headline(found)]
    sentence = standing_out(last)
    tail = ([sentence] if sentence else []) + tail
    rows = _rows(last, MAX_LINES - len(head) - len(tail))
    return "\n".join([*head, *rows, *tail])


def standing_out(verdict: dict[str, Any]) -> str:
    """Returns one sentence about what most deserves a look, or an empty text.

    In this order: an attribute that decides conflicting images, the strongest reliance that is not met, the worst
    failed comparison.
    """
    decided = [entry for entry in verdict.get("extra", {}).get("decided_by", []) if entry["n"] > 0]
    decided = [entry for entry in decided if entry["low"] > entry["chance"]]
    if decided:
        worst = max(decided, key=lambda entry: float(entry["share"]))
        return (
            f"the model decides {worst['share']:.0%} of the conflicting images by their {worst['attribute']} "
            f"({worst['low']:.0%} to {worst['high']:.0%}, n {worst['n']:,}): it gives them the class whose usual "
            f"{worst['attribute']} they carry."
        ).replace("%", " %")
    failed = [row for row in verdict["requirements"] if row["verdict"] == "FAIL" and row["estimate"] is not None]
    if not failed:
        return ""
    row = max(failed, key=lambda row: abs(float(row["estimate"]) - float(row["bound"])))
    return f"furthest from its bound: {_label(row)}, {number(row['estimate'])} against {number(row['bound'])}."


def number(value: float | None) -> str:
    """Returns a rate as `.973`, anything larger with thousands separated."""
    if value is None:
        return "-"
    if abs(value) > 1.0:
        return f"{value:,.0f}"
    return f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1)


def _headline(found: list[tuple[str, dict[str, Any]]]) -> str:
    stage, last = found[-1]
    line = f"{stage}: {last['verdict']}"
    others = [f"{name}: {verdict['verdict']}" for name, verdict in found[:-1]]
    notes = [
        *others,
        _opened(last) if stage == "test" else "",
    ]
    shown = "; ".join(note for note in notes if note)
    return f"{line}  ({shown})" if shown else line


def _opened(verdict: dict[str, Any]) -> str:
    if not verdict.get("sealed", True):
        return "not sealed: its openings are not counted"
    openings = verdict.get("openings", 0)
    return f"opening {openings} of the sealed test split" if openings else ""


def _rows(verdict: dict[str, Any], room: int) -> list[str]:
    rows = verdict["requirements"]
    kept = rows if len(rows) <= room else sorted(rows, key=lambda row: ORDER[row["verdict"]])[: room - 1]
    width = max((len(_label(row)) for row in kept), default=0)
    lines = [_row(row, width) for row in kept]
    if len(kept) < len(rows):
        lines.append(f"  and {len(rows) - len(kept)} more in the report")
    return lines


def _label(row: dict[str, Any]) -> str:
    return f"{row['label']} [{row['worst']}]" if len(row["comparisons"]) > 1 else str(row["label"])


def _row(row: dict[str, Any], width: int) -> str:
    sign = ">=" if row["direction"] == "at_least" else "<="
    bound = f"{sign} {number(row['bound'])}" if row["bound"] is not None else "shown"
    exact = row["low"] is None or row["low"] == row["high"]
    span = "" if exact else f"{number(row['low'])} to {number(row['high'])}"
    n = "" if exact and row["estimate"] is not None else f"n {row['n']:,}"
    columns = (f"{row['verdict'] or '':<12}", f"{_label(row):<{width}}", f"{number(row['estimate']):>7}")
    return "  " + "  ".join((*columns, f"{span:<14}", f"{n:<8}", bound)).rstrip()


def _next(run_folder: Path, stage: str, verdict: dict[str, Any]) -> str:
    run = _shown(run_folder)
    if stage == "validation" and verdict.get("sealed", True):
        return f"evensight test run={run}    (opens the sealed test split)"
    if stage == "validation":
        return f"evensight test run={run}"
    # A model that failed its test is used only by those who say so.
    accepted = " accept_failed=true" if verdict["verdict"] == "FAIL" else ""
    return f"evensight predict artifact={run}/artifact data=<folder>{accepted}"


def _keep(environment: dict[str, Any]) -> str:
    """Returns the line that makes an experiment file of settings for a user's own images, else an empty text."""
    arguments = shlex.split(str(environment.get("command", "")))[1:]
    # debug= is for trying out, and cannot be kept.
    arguments = [argument for argument in arguments if argument != "train" and not argument.startswith("debug=")]
    own = [argument for argument in arguments if argument in ("experiment=folder", "experiment=table")]
    return f"python train.py {shlex.join(arguments)} --save=<name>" if own else ""


def _shown(path: Path) -> str:
    """Returns a path as short as it can be typed from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    loaded = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded
