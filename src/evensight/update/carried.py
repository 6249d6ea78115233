"""What was found out about the old images, carried over by row id; of the new ones nothing of it is known.

An attribute that a cue alone suggests (`<cue>_says`) is a side table of the audit's, not a column of the data: as a
column it would be another attribute of another objective.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from evensight.data.manifest import Manifest
from evensight.data.side_tables import SAYS
from evensight.data.tables import SideTable, read_table, write_table

CUES, QUARANTINE = "cues", "quarantine"


def own_levels(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Returns the attributes that are columns of the data, with their levels: those of the side table are not."""
    computed = set() if (table := _cues(manifest)) is None else set(table.frame.columns)
    return {
        name: levels
        for name, levels in manifest.levels.items()
        if not (CUES in manifest.side_tables and name.endswith(SAYS) and name in computed)
    }


def carry_over(old: Manifest, folder: Path) -> None:
    """Writes the side tables of a manifest to the folder of the new version's recipe.

    Args:
        old: With what its side tables say: images that were left out of training stay left out.
        folder: Of the new version's recipe.
    """
    about = {"by": "merge", "content": old.digests.content}
    if CUES in old.side_tables and (table := _cues(old)) is not None:
        write_table(folder, CUES, table.frame, {**table.about, **about})
    if old.left_out is not None:
        rows = old.frame.filter(pl.Series(old.left_out)).select("row_id")
        told = [pl.lit("earlier").alias("code"), pl.lit("left out of the older version").alias("reason")]
        write_table(folder, QUARANTINE, rows.with_columns(told), about)


def _cues(manifest: Manifest) -> SideTable | None:
    return read_table(manifest.folder, CUES)
