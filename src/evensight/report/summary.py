"""The last lines of a run: at most 15, from the files it left."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

from evensight.progress import shortened

MAX_LINES = 15
STAGES = ("validation", "test", "pilot")
# Below these columns rows lose their bounds, and commands are not broken.
_NARROW = 60
_INDENT = 12  # of a command's further lines
_SHORTEST = 8  # columns of a label
_LONGEST_NAME = 40  # columns of a user's name in a sentence
# Worst first: what a reader has to see when not every row fits.
ORDER = {"FAIL": 0, "NOT_MEASURED": 1, "INSUFFICIENT": 2, "PASS": 3, None: 4}


def summary(run_folder: Path, width: int | None = None) -> str:
    """Returns the verdict, a row a requirement, what stands out, where the files are and what to try next.

    Args:
        run_folder: A run folder; `verdicts/` may be missing (`export=false`).
        width: Columns of the terminal; from 60 on every line but a path fits. None: there is none, nothing is cut.
    """
    verdicts = {stage: _read(run_folder / "verdicts" / f"{stage}.json") for stage in STAGES}
    found = [(stage, verdict) for stage, verdict in verdicts.items() if verdict is not None]
    tail = [f"report    {shown_path(run_folder / 'report.html')}"]
    if not found:
        return "\n".join(["no verdict: export=false writes no artifact to judge.", *tail])
    stage, last = found[-1]
    tail.append(f"artifact  {shown_path(run_folder / 'artifact')}")
    commands = [f"next      {_next(run_folder, stage, last)}"]
    keep = _keep(_read(run_folder / "environment.json") or {})
    commands += [f"keep      {keep}"] if keep else []
    head, sentence = wrapped(_headline(found), width), wrapped(standing_out(last), width)
    broken = [part for line in commands for part in _command(line, width)]
    fits = len(head) + len(sentence) + len(tail) + len(broken) < MAX_LINES
    tail = [*sentence, *tail, *(broken if fits else commands)]
    rows = requirement_rows(last, MAX_LINES - len(head) - len(tail), width)
    return "\n".join([*head, *rows, *tail])


def standing_out(verdict: dict[str, Any]) -> str:
    """Returns one sentence about what most deserves a look, or an empty text.

    In this order: an attribute that decides conflicting images, the failed comparison that is furthest from its bound,
    why a requirement could not be looked at.
    """
    decided = [entry for entry in verdict.get("extra", {}).get("decided_by", []) if entry["n"] > 0]
    decided = [entry for entry in decided if entry["low"] > entry["chance"]]
    if decided:
        worst = max(decided, key=lambda entry: float(entry["share"]))
        attribute = shortened(worst["attribute"], _LONGEST_NAME)
        return (
            f"the model decides {worst['share']:.0%} of the conflicting images by their {attribute} "
            f"({worst['low']:.0%} to {worst['high']:.0%}, n {worst['n']:,}): it gives them the class whose usual "
            f"{attribute} they carry."
        ).replace("%", " %")
    failed = [row for row in verdict["requirements"] if row["verdict"] == "FAIL" and row["estimate"] is not None]
    if not failed:
        return _unmeasured(verdict["requirements"])
    row = max(failed, key=lambda row: abs(float(row["estimate"]) - float(row["bound"])))
    label = shortened(_label(row), 2 * _LONGEST_NAME)
    return f"furthest from its bound: {label}, {number(row['estimate'])} against {number(row['bound'])}."


def _unmeasured(rows: list[dict[str, Any]]) -> str:
    """Returns the first reason, with all that it kept from being measured."""
    reasons = [row["reason"] for row in rows if row["verdict"] == "NOT_MEASURED" and row["reason"]]
    if not reasons:
        return ""
    labels = [row["label"] for row in rows if row["verdict"] == "NOT_MEASURED" and row["reason"] == reasons[0]]
    return f"not measured: {shortened(', '.join(labels), 2 * _LONGEST_NAME)}: {reasons[0]}."


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


def wrapped(text: str, width: int | None) -> list[str]:
    """Breaks a sentence into lines."""
    return textwrap.wrap(text, max(_NARROW, width)) if width else [text] if text else []


def _command(line: str, width: int | None) -> list[str]:
    """Breaks a command between its arguments, so that it can still be copied."""
    if width is None or width < _NARROW or len(line) <= width:
        return [line]
    lines = [""]
    for part in re.split(r"(?<=\S) (?=\S)", line):  # not within the spaces that line things up
        if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
            lines.append(" " * _INDENT + part)
        else:
            lines[-1] += f" {part}" if lines[-1] else part
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def requirement_rows(verdict: dict[str, Any], room: int, columns: int | None) -> list[str]:
    """Returns a line a requirement, the worst where there is room for fewer.

    Args:
        verdict: A verdict file.
        room: Lines.
        columns: Of the terminal; None: nothing is cut.
    """
    rows = verdict["requirements"]
    kept = rows if len(rows) <= room else sorted(rows, key=lambda row: ORDER[row["verdict"]])[: room - 1]
    width = max((len(_label(row)) for row in kept), default=0)
    lines = [_row(row, width) for row in kept]
    if columns is not None and max(map(len, lines), default=0) > columns:
        lines = _narrow_rows(kept, columns)
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


def _narrow_rows(rows: list[dict[str, Any]], columns: int) -> list[str]:
    """Returns the same figures in as few columns as they need, the bounds in brackets, then what is left of labels."""
    table = []
    for row in rows:
        exact = row["low"] is None or row["low"] == row["high"]
        cells = [row["verdict"] or "", number(row["estimate"])]
        if columns >= _NARROW:
            cells.append("" if exact else f"({number(row['low'])}, {number(row['high'])})")
            cells.append("" if exact else f"n {row['n']:,}")
        sign = ">=" if row["direction"] == "at_least" else "<="
        table.append([*cells, f"{sign} {number(row['bound'])}" if row["bound"] is not None else "shown"])
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    room = max(_SHORTEST, columns - sum(widths) - len(widths) - 2)
    return [
        "  " + " ".join([*map(str.ljust, cells, widths), shortened(_label(row), room)])
        for cells, row in zip(table, rows, strict=True)
    ]


def _next(run_folder: Path, stage: str, verdict: dict[str, Any]) -> str:
    run = shown_path(run_folder)
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


def shown_path(path: Path) -> str:
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
