"""Chapter: what goes with the class, in the training images: attributes, properties of files and light, origins.

Bias-corrected Cramer's V with an interval; p by permutation, Holm over all columns at `audit.alarm_level`. Association
is natural (a race track is grey, a sea is bright), so it is an alarm only where the objective says that the model must
not go by it: see `stakes.forbids`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evensight.audit.association_blocks import STRONG, WEAK, Linked, between, blocks
from evensight.audit.chapter import AuditFinding, Chapter, Exhibit, Picture, Severity
from evensight.audit.columns import Column, columns
from evensight.audit.data import AuditData, Ints
from evensight.audit.stakes import forbids
from evensight.config import AuditConfig
from evensight.metrics.association import association, cramers_v, crossed
from evensight.metrics.multiplicity import draws_for, holm_adjusted
from evensight.names import focus_setting
from evensight.progress import Progress

TITLE = "What goes with the class"
LEDE = (
    "How far the class can be told from one thing that is known of an image, among training images: 0 is not at all, "
    "1 is wholly (Cramer's V, freed of what chance gives it). Much of it is how the world is; what matters is whether "
    "the model may go by it."
)
MIRRORED = 0.7  # V between two columns from which one speaks for both
MOST_NOTES = 5
_CAPTIONS = 3


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Measures every column against the class; see `audit.chapter`."""
    training = data.within("train") & (data.labels >= 0)
    if np.unique(data.labels[training]).size < 2:
        return Chapter("association", TITLE, LEDE, skipped="training has fewer than two classes")
    links = linked(data, columns(data), settings, progress)
    if not links:
        return Chapter("association", TITLE, LEDE, skipped="nothing is known of the images besides their class")
    findings = [_finding(data, link, settings.alarm_level) for link in links]
    notes = [each for each in findings if each is not None and each.severity == "note"]
    kept = [each for each in findings if each is not None and (each.severity != "note" or each in notes[:MOST_NOTES])]
    return Chapter(
        "association",
        TITLE,
        LEDE,
        kept,
        blocks(data, links, settings.alarm_level),
        figures={"association": {link.column.name: _figures(link) for link in links}},
    )


def linked(data: AuditData, known: Sequence[Column], settings: AuditConfig, progress: Progress) -> list[Linked]:
    """Measures and tests columns against the class, the strongest first.

    Args:
        data: The images.
        known: The columns.
        settings: `alarm_level` says how many permutations it takes, `seed` which.
        progress: Told of each column.
    """
    num_classes = len(data.classes)
    rows = {split: data.within(split) & (data.labels >= 0) for split in ("train", "validation")}
    draws, measured = draws_for(len(known), settings.alarm_level), []
    for number, column in enumerate(known):
        tables = [
            crossed(data.labels[those], column.codes[those], num_classes, len(column.levels)) for those in rows.values()
        ]
        found = association(tables[0], data.alpha, draws, settings.seed + number)
        there = cramers_v(tables[1]) if tables[1].any() else float("nan")
        measured.append(Linked(column, tables[0], found, found.p, there))
        progress("comparing with the class", number + 1, len(known))
    adjusted = holm_adjusted([each.found.p for each in measured])
    corrected = [replace(each, p=float(p)) for each, p in zip(measured, adjusted, strict=True)]
    ranked = sorted(corrected, key=lambda each: (-each.found.low, -each.found.v, each.column.name))
    return _mirrors(data, ranked, rows["train"], settings.alarm_level)


def _mirrors(data: AuditData, ranked: Sequence[Linked], training: NDArray[np.bool_], level: float) -> list[Linked]:
    """Names for each strong column the stronger one that says nearly the same; attributes speak for themselves."""
    named: list[Linked] = []
    made = []
    for each in ranked:
        if each.p > level or each.found.v < STRONG:
            made.append(each)
            continue
        same = ""
        if each.column.kind != "attribute" and not forbids(data.objective, each.column.name):
            same = next((other.column.name for other in named if between(other, each, training) >= MIRRORED), "")
        if not same:
            named.append(each)
        made.append(replace(each, mirrors=same))
    return made


def _severity(data: AuditData, link: Linked) -> Severity:
    forbidden = bool(forbids(data.objective, link.column.name))
    if link.mirrors or link.found.v < (WEAK if forbidden else STRONG):
        return "note"
    return "alarm" if forbidden and link.found.v >= STRONG else "warning"


def _finding(data: AuditData, link: Linked, level: float) -> AuditFinding | None:
    """Puts an association that chance does not give, and that is no trifle, into words; None for another."""
    if link.p > level or link.found.v < WEAK:
        return None
    column, found = link.column, link.found
    severity = _severity(data, link)
    k, at, expected = _worst_cell(link.table)
    share = link.table[k, at] / link.table[k].sum()
    rows = _rows(data, column, k, at)
    least = {"alarm": 0.4, "warning": 0.15, "note": 0.0}[severity]
    return AuditFinding(
        code="association",
        severity=severity,
        danger=min(1.0, least + 0.4 * found.v),
        title=f"Class and {_named(column)} go together: V {found.v:.2f} ({found.low:.2f} to {found.high:.2f}, "
        f"{found.n:,} training images); {_level(column, at)} is {share:.0%} of {data.classes[k]} and {expected:.0%} of "
        "all.",
        evidence={**_figures(link), "class": data.classes[k], "level": column.levels[at]},
        rows=rows[:200].tolist(),
        num_rows=len(rows),
        action=_action(data, link, severity),
        setting=focus_setting(column.name) if severity == "alarm" else "",
        exhibits=[] if severity == "note" else _exhibits(data, column, k, at),
    )


def _named(column: Column) -> str:
    words = column.name.replace("_", " ")
    return {"attribute": words, "property": f"the {words} of images", "origin": f"the column {column.name}"}[
        column.kind
    ]


def _level(column: Column, at: int) -> str:
    return column.levels[at] if column.kind == "attribute" else f"{column.name.replace('_', ' ')} {column.levels[at]}"


def _action(data: AuditData, link: Linked, severity: Severity) -> str:
    forbidden = forbids(data.objective, link.column.name)
    if forbidden and severity != "note":
        asked = "; ".join(each.label for each in forbidden[:2])
        return (
            f"The objective says that the model must not go by it ({asked}): collect images of the rare cells, and "
            "watch accuracy on conflicting images."
        )
    if link.mirrors:
        return f"It says nearly what {link.mirrors} says of the same images."
    if severity == "warning":
        declared = (
            "judge accuracy on its conflicting images" if link.column.kind == "attribute" else "make it an attribute"
        )
        return (
            f"If it is only how the images were collected, {declared} in the objective and collect images of the rare "
            "cells; if it belongs to the classes, leave it."
        )
    return ""


def _worst_cell(table: Ints) -> tuple[int, int, float]:
    """Returns class and level of the cell that is over-represented most, and the level's share of all images."""
    n = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    excess = np.where(expected > 0, (table - expected) / np.sqrt(np.maximum(expected, 1e-9)), -np.inf)
    k, at = np.unravel_index(int(excess.argmax()), table.shape)
    return int(k), int(at), float(table[:, at].sum() / n)


def _rows(data: AuditData, column: Column, k: int, at: int) -> Ints:
    return np.flatnonzero(data.within("train") & (data.labels == k) & (column.codes == at))


def _exhibits(data: AuditData, column: Column, k: int, at: int) -> list[Exhibit]:
    """Shows images of the cell that is too full beside others of the class and others of the level."""
    training, level = data.within("train"), column.levels[at]
    parts = {
        f"{data.classes[k]}, {level}": (data.labels == k) & (column.codes == at),
        f"{data.classes[k]}, not {level}": (data.labels == k) & (column.codes != at) & (column.codes >= 0),
        f"another class, {level}": (data.labels != k) & (data.labels >= 0) & (column.codes == at),
    }
    exhibits = []
    for caption, mask in parts.items():
        rows = np.flatnonzero(mask & training)[:_CAPTIONS]
        if rows.size:
            pictures = [Picture(int(row), data.classes[data.labels[row]]) for row in rows]
            exhibits.append(Exhibit(pictures, f"{caption} ({int((mask & training).sum()):,} images)"))
    return exhibits


def _figures(link: Linked) -> dict[str, object]:
    return {
        "column": link.column.name,
        "kind": link.column.kind,
        "estimate": link.found.v,
        "low": link.found.low,
        "high": link.found.high,
        "n": link.found.n,
        "p": link.found.p,
        "p_corrected": link.p,
        "validation": link.validation,
        "mirrors": link.mirrors,
    }
