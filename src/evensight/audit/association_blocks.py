"""What the report draws of associations with the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.audit.chapter import Bars, Block, Figure, HeatMap, Paragraph, Table
from evensight.audit.columns import Column
from evensight.audit.data import AuditData, Ints
from evensight.metrics.association import Association, cramers_v, crossed

STRONG = 0.3  # V from which an association is worth a look
# The same where the objective says that the model must not go by it; below, it is only a row of the table.
WEAK = 0.1
CONFOUNDED = 0.2  # V between attributes from which they are named together
MOST_MAPS, MOST_ROWS, MOST_COLUMNS, MOST_LISTED = 4, 40, 24, 40


@dataclass(frozen=True)
class Linked:
    """A column with how far it goes with the class.

    Attributes:
        column: Which.
        table: `[K, L]` training images.
        found: Of the table.
        p: Corrected for all columns.
        validation: V among validation images, NaN where there are none.
        mirrors: A stronger column that says nearly the same of the images; empty where there is none.
    """

    column: Column
    table: Ints
    found: Association
    p: float
    validation: float
    mirrors: str = ""


def between(first: Linked, second: Linked, rows: NDArray[np.bool_]) -> float:
    """Returns V between two columns among some images."""
    sizes = len(first.column.levels), len(second.column.levels)
    return cramers_v(crossed(first.column.codes[rows], second.column.codes[rows], *sizes))


def blocks(data: AuditData, links: Sequence[Linked], level: float) -> list[Block]:
    """Draws the columns, the strongest first.

    Args:
        data: The images.
        links: Ranked.
        level: Of corrected p-values.
    """
    figures = [
        Figure(
            each.column.name,
            each.found.v,
            each.found.low,
            each.found.high,
            each.found.n,
            "" if each.p <= level else "chance",
        )
        for each in links[:MOST_LISTED]
    ]
    made: list[Block] = [
        Bars("Association with the class", figures, STRONG, "worth a look", "Training images; Cramer's V.")
    ]
    strong = [each for each in links if each.p <= level and each.found.v >= WEAK and not each.mirrors][:MOST_MAPS]
    made += [_heat_map(data, each) for each in strong]
    if not strong:
        made.append(Paragraph("Nothing goes with the class beyond trifles and chance."))
    return [*made, _table(links, level), *_confounded(data, links)]


def _heat_map(data: AuditData, link: Linked) -> HeatMap:
    """Draws the share of each class that has each level."""
    table, column = link.table, link.column
    kept = np.sort(np.argsort(-table.sum(axis=1), kind="stable")[:MOST_ROWS])
    across = np.sort(np.argsort(-table.sum(axis=0), kind="stable")[:MOST_COLUMNS])
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    cut = f"; the {len(kept)} largest classes" if len(kept) < len(table) else ""
    return HeatMap(
        title=f"Class x {column.name}",
        rows=[data.classes[k] for k in kept.tolist()],
        columns=[column.levels[at] for at in across.tolist()],
        shades=shares[np.ix_(kept, across)].tolist(),
        texts=[[f"{table[k, at]:,}" for at in across.tolist()] for k in kept.tolist()],
        note=f"Training images; shade: share of the class{cut}.",
    )


def _table(links: Sequence[Linked], level: float) -> Table:
    rows: list[list[str | int | float | None]] = [
        [
            each.column.name,
            each.column.kind,
            each.found.shape[1],
            round(each.found.v, 3),
            f"{each.found.low:.3f} to {each.found.high:.3f}",
            None if np.isnan(each.validation) else round(each.validation, 3),
            f"{each.p:.2g}",
            each.found.n,
            each.mirrors or None,
        ]
        for each in links[:MOST_LISTED]
    ]
    titles = ["column", "kind", "levels", "V", "interval", "V in validation", "p", "images", "says the same as"]
    note = f"p by permutation, corrected for {len(links):,} columns (Holm); at most {level:g} is beyond chance."
    return Table("Every column", titles, rows, note)


def _confounded(data: AuditData, links: Sequence[Linked]) -> list[Block]:
    """Lists attributes and origins that go together: what one is blamed for may be the other."""
    training = data.within("train")
    those = [each for each in links if each.column.kind != "property"][: MOST_LISTED // 2]
    pairs = [
        (between(first, second, training), first.column.name, second.column.name)
        for number, first in enumerate(those)
        for second in those[number + 1 :]
    ]
    strong = sorted((pair for pair in pairs if pair[0] >= CONFOUNDED), reverse=True)[:MOST_LISTED]
    if not strong:
        return []
    note = "What is found of one may come of the other."
    rows: list[list[str | int | float | None]] = [[first, second, round(v, 3)] for v, first, second in strong]
    return [Table("Attributes and origins that go together", ["one", "other", "V"], rows, note)]
