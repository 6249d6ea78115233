"""Images listed in a table: CSV, TSV, JSON lines or Parquet, one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from evensight.data.annotations.account import without_row
from evensight.data.readers.table_files import SUFFIXES, read_table
from evensight.data.reading import Progress, Reader, Reading, existing_file, existing_root
from evensight.errors import UserError, unknown


@dataclass
class TableReader(Reader):
    """Reads a table; every column that is not named below is an attribute of its own name."""

    reader: str = "table"  # a name of names.READERS
    table: str = MISSING  # the file: .csv, .tsv, .jsonl, .ndjson or .parquet
    root: str | None = None  # folder the paths are relative to; null: the table's own
    path_column: str = "path"  # where the image is: a file, file.npy#row or file.npz:member#row
    label_column: str = "label"  # name of the class
    split_column: str | None = None  # train, validation or test; null: the column split where there is one
    mask_column: str | None = None  # path of a mask; null: the column mask where there is one
    attributes: dict[str, str] = field(default_factory=dict)  # attribute: its column, where they differ

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Reads the table and lists images of its folders that have no row; see `Reader.read`."""
        path = _existing_table(self.table)
        root = existing_root(self.root) if self.root else path.parent.resolve()
        rows = read_table(path)
        rows = rows.rename(self._renamed(rows.columns))
        return Reading(rows=rows, root=root, findings=without_row(root, rows["path"].drop_nulls().to_list()))

    def _renamed(self, columns: Sequence[str]) -> dict[str, str]:
        wanted = {"path_column": ("path", self.path_column), "label_column": ("label", self.label_column)}
        if self.split_column is not None:
            wanted["split_column"] = ("split", self.split_column)
        if self.mask_column is not None:
            wanted["mask_column"] = ("mask", self.mask_column)
        wanted |= {f"attributes.{name}": (name, column) for name, column in self.attributes.items()}
        renamed: dict[str, str] = {}
        for key, (name, column) in wanted.items():
            if column not in columns:
                raise unknown(f"data.{key}: column of {self.table}", column, columns)
            if column != name:
                if column in renamed:
                    raise UserError(f"data.{key}: column {column!r} is used twice; it is {renamed[column]} already.")
                renamed[column] = name
        twice = [name for name in renamed.values() if name in columns and name not in renamed]
        if twice:
            raise UserError(f"data: {self.table} has a column {twice[0]!r} beside the one that is to be {twice[0]}.")
        return renamed


def _existing_table(table: str) -> Path:
    if Path(table).suffix.lower() not in SUFFIXES:
        raise UserError(f"data.table: {table!r} is no table evensight reads; allowed: {', '.join(SUFFIXES)}.")
    return existing_file(table, "data.table", "name the file, data.table=<file>.csv")
