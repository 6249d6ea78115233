"""What a reading comes to before an image is decoded: rows, names, and what is said beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from evensight.data import annotators
from evensight.data.digests import BOX
from evensight.data.findings import Finding
from evensight.data.places import Stamp
from evensight.data.reading import Reader, Reading
from evensight.data.tables import header, remove_table, table_digest, write_table

OWN_COLUMNS = ("path", "label", "split", "mask", *BOX, *Stamp._fields)
_OWN_TABLES = ("origins", "annotations", "soft_labels")  # side tables that are known when the rows are


@dataclass(frozen=True)
class Names:
    """Ordered names of classes and of each attribute's levels."""

    classes: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, object]:
        """Returns plain values for a JSON file."""
        return {"classes": list(self.classes), "levels": {name: list(levels) for name, levels in self.levels.items()}}


@dataclass(frozen=True)
class Listed:
    """The rows, and what was read beside them.

    Attributes:
        rows: With the declared attributes.
        further: Every further column of the same rows, as it was read.
        undeclared: Those of them that are no attribute of the objective.
        annotations: What `annotators.checked` returned; None where the data names no annotators.
        mask_root: Of the reading.
    """

    rows: pl.DataFrame
    further: pl.DataFrame
    undeclared: pl.DataFrame
    annotations: pl.DataFrame | None
    mask_root: Path | None

    def key(self, reading: Reading, names: Names, data: Reader) -> tuple[pl.DataFrame, dict[str, object]]:
        """Returns what `kept.key_of` takes; of a reading as simple as ever it is what it always was."""
        settings: dict[str, object] = {"root": str(reading.root), "names": names.to_dict()}
        settings["usual"] = _plain(reading.usual)
        if self.mask_root is not None:
            settings["mask_root"] = str(self.mask_root)
        if self.annotations is not None:
            settings["annotations"] = table_digest(self.annotations)
        if tied := [*data.tied, *data.stratify]:
            settings["tied"] = table_digest(self.further.select(*dict.fromkeys(tied)).with_row_index())
        return self.rows.hstack(self.undeclared), settings


def write_tables(
    folder: Path, frame: pl.DataFrame, listed: Listed, classes: Sequence[str], content: str
) -> tuple[list[str], list[Finding]]:
    """Writes what the data says beside its rows as side tables, and takes away those of an older version."""
    findings: list[Finding] = []
    tables: dict[str, pl.DataFrame] = {}
    if listed.undeclared.width:
        tables["origins"] = frame.select("row_id").hstack(listed.undeclared)
    if listed.annotations is not None:
        tables["annotations"] = annotators.joined(listed.annotations, frame)
        together, findings = annotators.soft_labels(tables["annotations"], classes)
        if together is not None:
            tables["soft_labels"] = together
    about = {"by": "prepare", "content": content}
    for name, table in tables.items():
        write_table(folder, name, table, about)
    for name in _OWN_TABLES:
        head = None if name in tables else header(folder, name)
        if head is not None and head["about"].get("by") == about["by"]:
            remove_table(folder, name)
    return list(tables), findings


def _plain(usual: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {attribute: dict(table) for attribute, table in usual.items()}
