"""The annotators of a cycle: they fill in the table that `update action=plan` wrote, by the truth of what was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from evensight.cycle.client import Answer
from evensight.files import replaced


def annotated(table: Path, answers: Mapping[str, Answer], out: Path) -> int:
    """Writes a plan's table with its labels and attributes filled in.

    Args:
        table: `to_annotate.csv`.
        answers: By the server's id of an image.
        out: Where the filled table goes.

    Returns:
        The number of images.
    """
    frame = pl.read_csv(table, infer_schema=False)
    truth = [answers[name].request for name in frame["id"].to_list()]
    columns = {"label": [request.label for request in truth]}
    for name in frame.columns:
        if any(name in request.attributes for request in truth):
            columns[name] = [request.attributes.get(name, "") for request in truth]
    filled = frame.with_columns(pl.Series(name, values, pl.String) for name, values in columns.items())
    with replaced(out) as temporary:
        filled.write_csv(temporary)
    return filled.height
