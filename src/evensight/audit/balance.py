"""Chapter: how many images there are of each class, group and cell, and what the test split can decide with them.

All of it is counts, which may always be read, those of a closed test split too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.audit.balance_blocks import classes_table, heat_maps, other_stages, plan_blocks
from evensight.audit.chapter import AuditFinding, Block, Chapter, Paragraph, Severity
from evensight.audit.data import AuditData
from evensight.audit.evidence_plan import STAGE, EvidencePlan, evidence_plan
from evensight.audit.stakes import judged_by_group
from evensight.config import AuditConfig
from evensight.data.reading import SPLITS
from evensight.metrics.hypergeometric import few_p
from evensight.metrics.p_values import holm
from evensight.objective.command import usual_in_training
from evensight.progress import Progress

TITLE = "Balance and evidence"
LEDE = (
    "How many images there are of each class, group and cell (class x group). A cell that training lacks is not "
    "learned; one that the test split lacks is not judged."
)
# Largest class over smallest, from which it is said, and from which it is worth a look.
UNEVEN, VERY_UNEVEN = 3.0, 10.0
# A cell is short of images where it has at most this share of what its class and group would give it by themselves.
SHORT = 1 / 3
MOST_NAMED, MOST_KEPT = 4, 200


@dataclass(frozen=True)
class ShortCells:
    """Cells of one attribute with far fewer training images than their class and group alone would give them.

    Attributes:
        attribute: Which.
        cells: Class and level of each, the shortest first.
        counts: Images of each.
        expected: What each would have if class and attribute were independent.
    """

    attribute: str
    cells: list[tuple[int, int]]
    counts: list[int]
    expected: list[float]


def chapter(data: AuditData, settings: AuditConfig, progress: Progress) -> Chapter:
    """Counts, and plans the evidence; see `audit.chapter`."""
    progress("counting cells", 0, 1)
    usual = {**usual_in_training(data.counts.get("train", {})), **data.usual}
    there = _total(data, STAGE) > 0
    plan = evidence_plan(data.objective, data.counts[STAGE], usual) if there else None
    short = short_cells(data, settings.alarm_level)
    findings = [*_empty(data), *_short(data, short), *_imbalance(data)]
    marked = {each.attribute: set(each.cells) for each in short}
    blocks: list[Block] = [classes_table(data)]
    blocks += [block for name in data.levels for block in heat_maps(data, name, marked.get(name, set()))]
    if plan is None:
        blocks.append(Paragraph("There is no test split, so no requirement can be decided."))
    else:
        findings += _undecidable(plan)
        blocks += plan_blocks(plan)
    blocks += other_stages(data)
    progress("counting cells", 1, 1)
    return Chapter("balance", TITLE, LEDE, findings, blocks, figures={"balance": _figures(data, plan)})


def short_cells(data: AuditData, level: float) -> list[ShortCells]:
    """Finds training cells that have at most a third of what independence would give them, beyond chance.

    The lower tail of the hypergeometric distribution with the margins fixed, Holm over all cells of all attributes.

    Args:
        data: Its training counts.
        level: Chance that any such cell is named in a data set where class and attributes are independent.
    """
    tables = {name: table for name, table in data.counts.get("train", {}).items() if name != "overall" and table.any()}
    if not tables:
        return []
    p, expected = [], {}
    for name, table in tables.items():
        n, rows, columns = table.sum(), table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
        expected[name] = rows * columns / n
        p.append(few_p(table, n, rows, columns).ravel())
    falls = np.split(holm(np.concatenate(p), level), np.cumsum([each.size for each in p])[:-1])
    found = []
    for (name, table), fallen in zip(tables.items(), falls, strict=True):
        share = table / np.maximum(expected[name], 1e-12)
        rows, columns = np.nonzero(fallen.reshape(table.shape) & (share <= SHORT))
        order = np.lexsort((-expected[name][rows, columns], share[rows, columns]))
        if order.size:
            cells = [(int(rows[at]), int(columns[at])) for at in order]
            counts = [int(table[cell]) for cell in cells]
            found.append(ShortCells(name, cells, counts, [float(expected[name][cell]) for cell in cells]))
    return found


def _total(data: AuditData, split: str) -> int:
    return int(np.sum(data.counts.get(split, {}).get("overall", 0)))


def _cell(data: AuditData, attribute: str, cell: tuple[int, int]) -> str:
    return f"{data.classes[cell[0]]} x {data.levels[attribute][cell[1]]}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _empty(data: AuditData) -> list[AuditFinding]:
    """Names classes, groups and cells without an image, a finding for each split and attribute."""
    findings = []
    for split in (split for split in SPLITS if _total(data, split)):
        counts = data.counts[split]
        without = [data.classes[k] for k in np.flatnonzero(np.asarray(counts["overall"]) == 0)]
        if without:
            severity: Severity = "alarm" if split != "validation" else "warning"
            title = f"{_listed(without)}: no image in {split}."
            evidence = {"split": split, "classes": without}
            action = "Add images of it, or take the class out of the objective."
            findings.append(AuditFinding("empty_class", severity, 0.9, title, evidence, action=action))
        findings += [each for name in data.levels if (each := _empty_cells(data, split, name)) is not None]
    return findings


def _empty_cells(data: AuditData, split: str, attribute: str) -> AuditFinding | None:
    table = np.asarray(data.counts[split].get(attribute, np.zeros((len(data.classes), len(data.levels[attribute])))))
    of_class = np.asarray(data.counts[split]["overall"])
    if not table.any():
        return None
    rows, columns = np.nonzero((table == 0) & (of_class > 0)[:, None])
    if rows.size == 0:
        return None
    cells = [_cell(data, attribute, (int(k), int(level))) for k, level in zip(rows, columns, strict=True)]
    asked = [each for each in judged_by_group(data.objective, attribute) if split in ("train", *each.stages)]
    endangers = bool(asked) and split != "validation"
    share = rows.size / table.size
    stakes = f" {asked[0].label} cannot be met without them." if endangers and split == "train" else ""
    return AuditFinding(
        code="empty_cell",
        severity="alarm" if endangers else "warning" if asked else "note",
        danger=min(1.0, (0.5 if endangers else 0.2) + 0.4 * share),
        title=f"{rows.size:,} of {table.size:,} cells of class x {attribute} have no image in {split}: "
        f"{_listed(cells)}.{stakes}",
        evidence={
            "split": split,
            "attribute": attribute,
            "x": int(rows.size),
            "n": int(table.size),
            "cells": cells[:MOST_KEPT],
        },
        action="Collect images of these cells, the rarest first.",
    )


def _short(data: AuditData, short: Sequence[ShortCells]) -> list[AuditFinding]:
    findings = []
    for each in short:
        asked = judged_by_group(data.objective, each.attribute)
        names = [
            f"{_cell(data, each.attribute, cell)} ({n:,}, {expected:,.0f} expected)"
            for cell, n, expected in zip(each.cells, each.counts, each.expected, strict=True)
        ]
        total = len(data.classes) * len(data.levels[each.attribute])
        worst = each.counts[0] / each.expected[0]
        rows = np.concatenate([_rows_of(data, each.attribute, cell) for cell in each.cells])
        findings.append(
            AuditFinding(
                code="short_cell",
                severity="alarm" if asked else "warning",
                danger=min(1.0, (0.45 if asked else 0.2) + 0.4 * (1 - worst) * len(each.cells) / total),
                title=f"{len(names):,} of {total:,} cells of class x {each.attribute} have at most a third of the "
                f"training images that their class and {each.attribute} would give them: {_listed(names)}.",
                evidence={
                    "attribute": each.attribute,
                    "cells": [_cell(data, each.attribute, cell) for cell in each.cells][:MOST_KEPT],
                    "counts": each.counts[:MOST_KEPT],
                    "expected": [round(value, 1) for value in each.expected[:MOST_KEPT]],
                },
                rows=rows[:MOST_KEPT].tolist(),
                num_rows=len(rows),
                action="Collect images of these cells: what a model learns of them it learns from few images.",
            )
        )
    return findings


def _rows_of(data: AuditData, attribute: str, cell: tuple[int, int]) -> NDArray[np.int64]:
    return np.flatnonzero(data.within("train") & (data.labels == cell[0]) & (data.attributes[attribute] == cell[1]))


def _imbalance(data: AuditData) -> list[AuditFinding]:
    counts = np.asarray(data.counts.get("train", {}).get("overall", np.zeros(0)), dtype=np.int64)
    if counts.size < 2 or counts.min() == 0:
        return []  # named as empty
    most, least = int(counts.argmax()), int(counts.argmin())
    ratio = counts[most] / counts[least]
    if ratio < UNEVEN:
        return []
    return [
        AuditFinding(
            code="imbalance",
            severity="warning" if ratio >= VERY_UNEVEN else "note",
            danger=float(min(0.6, 0.1 + 0.15 * np.log10(ratio))),
            title=f"{data.classes[most]} has {ratio:,.1f} times the training images of {data.classes[least]} "
            f"({counts[most]:,} and {counts[least]:,}).",
            evidence={"estimate": float(ratio), "most": data.classes[most], "least": data.classes[least]},
            action="Judge the recall of each class, and collect images of the rare ones.",
        )
    ]


def _undecidable(plan: EvidencePlan) -> list[AuditFinding]:
    """Names requirements that no model could pass on this test split, and those that a good one would often not."""
    findings = []
    passes = {row.label: row for row in plan.chances.rows} if plan.chances else {}
    for label in dict.fromkeys(need.requirement for need in plan.cells):
        cells = [need for need in plan.cells if need.requirement == label]
        hopeless = sorted((need for need in cells if need.hopeless), key=lambda need: need.has)
        missing = sum(need.missing for need in cells)
        evidence = {"requirement": label, "missing": missing, "cells": [need.cell for need in hopeless][:MOST_KEPT]}
        action = f"Collect {missing:,} test images: see the evidence plan, cell by cell."
        if hopeless:
            named = [f"{need.cell} ({need.has:,})" for need in hopeless]
            title = (
                f"{label}: no model can pass on this test split, which needs at least {hopeless[0].least:,} images of "
                f"each and has fewer of {_listed(named)}."
            )
            findings.append(AuditFinding("undecidable", "alarm", 0.6, title, evidence, action=action))
        elif label in passes and (passes[label].passes or 0.0) < 0.5 and not passes[label].reason:
            chance, accuracy = float(passes[label].passes or 0.0), float(np.mean(plan.truth.accuracy))
            title = (
                f"{label}: a model that meets it (accuracy {accuracy:.3f}) would pass with a chance of {chance:.2f} on "
                "this test split."
            )
            danger, evidence["estimate"] = 0.4 * (1 - chance), chance
            findings.append(AuditFinding("little_evidence", "warning", danger, title, evidence, action=action))
    return findings


def _figures(data: AuditData, plan: EvidencePlan | None) -> Mapping[str, object]:
    needs = [] if plan is None else plan.cells
    return {
        "images": {split: _total(data, split) for split in SPLITS},
        "missing": {
            label: sum(need.missing for need in needs if need.requirement == label)
            for label in dict.fromkeys(need.requirement for need in needs)
        },
        "chances": None if plan is None or plan.chances is None else plan.chances.verdicts,
    }
