"""What the report draws of balance and evidence: tables, and heat maps of class x group."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from evensight.audit.chapter import Block, HeatMap, Paragraph, Table
from evensight.audit.data import AuditData
from evensight.audit.evidence_plan import STAGE, CellNeed, EvidencePlan
from evensight.data.reading import SPLITS
from evensight.objective.words import bound_words

MOST_ROWS, MOST_COLUMNS, MOST_LISTED = 40, 24, 40


def classes_table(data: AuditData) -> Table:
    """Returns the images of each class in each split, of many classes the largest and the smallest."""
    counts = np.stack(
        [np.asarray(data.counts.get(split, {}).get("overall", np.zeros(len(data.classes)))) for split in SPLITS]
    )
    order = np.argsort(-counts.sum(axis=0), kind="stable")
    kept = order if order.size <= MOST_ROWS else np.concatenate([order[: MOST_ROWS // 2], order[-MOST_ROWS // 2 :]])
    rows: list[list[str | int | float | None]] = [
        [data.classes[k], *(int(n) for n in counts[:, k])] for k in kept.tolist()
    ]
    rows.append(["all", *(int(n) for n in counts.sum(axis=1))])
    note = "" if order.size <= MOST_ROWS else f"The {MOST_ROWS // 2} largest and smallest of {order.size:,} classes."
    return Table("Images of each class", ["class", *SPLITS], rows, note)


def heat_maps(data: AuditData, attribute: str, short: Container[tuple[int, int]]) -> list[HeatMap]:
    """Draws class x level of each split; empty cells and those named as short are outlined.

    Args:
        data: Its counts.
        attribute: Whose levels.
        short: Class and level of training cells to outline.
    """
    maps = []
    for split in SPLITS:
        table = data.counts.get(split, {}).get(attribute)
        if table is None or not np.any(table):
            continue
        table = np.asarray(table, dtype=np.int64)
        # Where there are too many to draw: classes with the emptiest cell, levels with most images.
        rows = np.sort(np.argsort(table.min(axis=1), kind="stable")[:MOST_ROWS])
        columns = np.sort(np.argsort(-table.sum(axis=0), kind="stable")[:MOST_COLUMNS])
        shown = table[np.ix_(rows, columns)]
        cut = f" {len(rows)} of {table.shape[0]:,} classes are shown." if len(rows) < table.shape[0] else ""
        empty = int((table == 0).sum())
        outlined = [
            (i, j)
            for i, k in enumerate(rows.tolist())
            for j, level in enumerate(columns.tolist())
            if table[k, level] == 0 or (split == "train" and (k, level) in short)
        ]
        maps.append(
            HeatMap(
                title=f"Class x {attribute}, {split}",
                rows=[data.classes[k] for k in rows.tolist()],
                columns=[data.levels[attribute][level] for level in columns.tolist()],
                shades=(shown / max(int(table.max()), 1)).tolist(),
                texts=[[f"{n:,}" for n in row] for row in shown.tolist()],
                marked=outlined,
                note=f"{empty:,} of {table.size:,} cells are empty; empty and short cells are outlined.{cut}",
            )
        )
    return maps


def plan_blocks(plan: EvidencePlan) -> list[Block]:
    """Returns what can be decided, and what each cell lacks."""
    if not plan.cells and plan.chances is None:
        return [Paragraph("No requirement with a bound is judged on the test split.")]
    accuracy = float(np.mean(plan.truth.accuracy))
    blocks: list[Block] = []
    if plan.chances is not None:
        rows: list[list[str | int | float | None]] = [
            [
                row.label,
                "shown" if row.bound is None else f"{row.bound:g}",
                row.n if row.least_n is not None else None,
                row.least_n,
                _chance(row.passes),
                _chance(row.fails_beyond),
                row.reason,
            ]
            for row in plan.chances.rows
        ]
        verdicts = ", ".join(f"{status} {share:.2f}" for status, share in plan.chances.verdicts.items() if share > 0)
        columns = ["requirement", "bound", "images", "least", "chance of PASS", "chance of FAIL beyond", "why not"]
        note = (
            f"Images of the smallest class, group or cell, and the least that can pass at all. Chances by "
            f"{plan.chances.draws:,} simulated test sets: of a model with accuracy {accuracy:.3f}, uneven over classes "
            f"and groups, to pass, and of one as far beyond the bound to be caught. The whole objective: {verdicts}."
        )
        blocks.append(Table("What the present test split can decide", columns, rows, note))
    else:
        blocks.append(Paragraph("There are too many cells to simulate whole test sets here; see evensight objective."))
    blocks.append(_cells_table(plan.cells, accuracy))
    return blocks


def _chance(share: float | None) -> str | None:
    """Three digits; a share of simulated sets is never certain."""
    if share is None:
        return None
    return "> .999" if share > 0.9995 else "< .001" if share < 0.0005 else f"{share:.3f}"


def _cells_table(cells: Sequence[CellNeed], accuracy: float) -> Table:
    lacking = sorted((need for need in cells if need.missing or need.needs is None), key=lambda need: -need.missing)
    named = {need.requirement for need in lacking}
    labels = [label for label in dict.fromkeys(need.requirement for need in cells) if label not in named]
    enough = [min((need for need in cells if need.requirement == label), key=lambda need: need.has) for label in labels]
    ranked = [*sorted(lacking, key=lambda need: not need.hopeless)[:MOST_LISTED], *enough]
    rows: list[list[str | int | float | None]] = [
        [need.requirement, need.cell, need.has, need.needs, need.missing if need.needs is not None else None]
        for need in ranked
    ]
    more = f" The {MOST_LISTED} that lack most are shown." if len(lacking) > MOST_LISTED else ""
    note = (
        f"needs: images with which all cells of the requirement pass together four times in five, at accuracy "
        f"{accuracy:.3f}; a dash: no number would do. {len(lacking):,} of {len(cells):,} cells lack images.{more} Of a "
        "requirement that lacks none, its smallest cell."
    )
    return Table("Evidence plan", ["requirement", "cell", "has", "needs", "missing"], rows, note)


def other_stages(data: AuditData) -> list[Block]:
    """Lists the requirements that are decided elsewhere; nothing where there are none."""
    rows: list[list[str | int | float | None]] = [
        [each.label, bound_words(each), ", ".join(each.stages)]
        for each in data.objective.requirements
        if STAGE not in each.stages
    ]
    return (
        [Table("Requirements that the test does not judge", ["requirement", "bound", "judged at"], rows)]
        if rows
        else []
    )
