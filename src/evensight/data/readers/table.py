"""Images listed in a table: CSV, TSV, JSON lines or Parquet, one row an image."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import MISSING

from evensight.data.findings import Finding, found
from evensight.data.readers.listing import listed
from evensight.data.reading import Progress, Reader, Reading, existing_root
from evensight.errors import UserError, unknown

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


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
        return Reading(rows=rows, root=root, findings=_without_row(root, rows["path"].drop_nulls().to_list()))

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


def read_table(path: Path) -> pl.DataFrame:
    """Reads a table of any of `SUFFIXES`, every value as text, null where there is none.

    Raises:
        UserError: The file is of another kind, broken, empty, or names a column twice.
    """
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            rows = _read_csv(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        elif path.suffix.lower() == ".parquet":
            rows = pl.read_parquet(path)
            rows = rows.select(pl.all().cast(pl.String))
        else:
            rows = _read_json_lines(path)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]}).") from error
    if rows.is_empty():
        raise UserError(f"{path}: the table has no rows.")
    return rows


def _read_csv(path: Path, separator: str) -> pl.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=separator), [])
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} is there twice.")
    # Kept as text: label 01 is not label 1.
    return pl.read_csv(path, separator=separator, infer_schema=False)


def _read_json_lines(path: Path) -> pl.DataFrame:
    rows: list[dict[str, str | None]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error}).") from error
        if not isinstance(value, dict):
            raise UserError(f'{path}: line {number} is not an object such as {{"path": ..., "label": ...}}.')
        rows.append({name: _text(part, f"{path}: line {number}, {name!r}") for name, part in value.items()})
    columns = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String))


def _text(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise UserError(f"{where}: found a {type(value).__name__}; allowed are text, numbers, true, false and null.")


def _existing_table(table: str) -> Path:
    path = Path(table).expanduser()
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"data.table: {table!r} is no table evensight reads; allowed: {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise UserError(f"data.table: {table!r} does not exist; name the file, data.table=<file>.csv.")
    return path


def _without_row(root: Path, paths: Sequence[str]) -> list[Finding]:
    """Reports images that lie beside listed ones and have no row. No other folder is looked at: root may be a home."""
    known = set(paths)
    folders = {path.rsplit("/", 1)[0] if "/" in path else "" for path in paths if not path.startswith("/")}
    folders = {folder for folder in folders if ".." not in folder.split("/") and "\0" not in folder}
    images = [
        path
        for folder in sorted(folders)
        if (root / folder).is_dir()
        for path in listed(root, folder, deep=False).images
        if path not in known
    ]
    return found("image_without_row", images, "images that lie beside listed ones and have no row; not used")
