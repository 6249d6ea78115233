"""Hugging Face's ImageFolder: images in folders, and what is known of them in metadata.csv, .jsonl or .parquet.

Format: huggingface.co/docs/datasets, "Create an image dataset", ImageFolder. Without any metadata it is class folders.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from omegaconf import MISSING

from evensight.data.annotations.names import log_mapping, map_classes
from evensight.data.annotations.paths import joined, trusted
from evensight.data.findings import found
from evensight.data.places import Places
from evensight.data.readers.folder import FolderReader
from evensight.data.readers.listing import listed
from evensight.data.readers.table_files import read_table
from evensight.data.reading import SPLIT_NAMES, Progress, Reader, Reading, existing_root
from evensight.errors import UserError, shown, unknown

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_MASK = "mask_file_name"
_MOST_BYTES = 2**31


@dataclass
class ImageFolderReader(Reader):
    """Reads a folder as Hugging Face's ``load_dataset("imagefolder")`` does; every further column is an attribute."""

    reader: str = "imagefolder"  # a name of names.READERS
    root: str = (
        MISSING  # the folder that holds the images, and metadata.csv, .jsonl or .parquet in it or in its folders
    )
    file_column: str | None = None  # where the image is, relative to the metadata; null: file_name or image_file_name
    label_column: str | None = "label"  # name or number of the class; null: the folder that the image is in
    label_names: list[str] = field(default_factory=list)  # name of label 0, 1, ...; empty takes the labels as they are
    mask_column: str | None = None  # path of a mask; null: the column mask_file_name where there is one

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Reads every metadata file and lists images without a line; see `Reader.read`."""
        root = existing_root(self.root)
        listing = listed(root)
        tables = [path for path in listing.others if posixpath.basename(path) in METADATA]
        if not tables:
            reading = FolderReader(name=self.name, root=self.root).read(folder, classes, progress)
            self._map(reading.rows["label"].to_list(), classes, str(root))
            return reading
        _one_a_folder(tables, root)
        parts = []
        for number, path in enumerate(tables, start=1):
            parts.append(self._table(root, path))
            progress("reading metadata", number, len(tables))
        rows = pl.concat(parts, how="diagonal")
        stamps, findings = trusted(rows["path"].drop_nulls().to_list(), root, str(root))
        named = [path for name in ("path", "mask") if name in rows.columns for path in rows[name].drop_nulls()]
        known = {posixpath.normpath(path) for path in named}
        loose = [path for path in listing.images if path not in known]
        findings += found("image_without_row", loose, "images in the folder that no metadata names; not used")
        others = [path for path in listing.others if path not in tables]
        findings += replace(listing, others=others).findings()
        rows = rows.filter(pl.col("path").is_in(list(stamps)) | pl.col("path").is_null())
        self._map(rows["label"].drop_nulls().to_list(), classes, str(root))
        return Reading(rows=rows, root=root, findings=findings)

    def _map(self, labels: Sequence[str], classes: tuple[str, ...] | None, where: str) -> None:
        counts = Counter(labels)
        log_mapping(counts, map_classes(counts, classes, where), classes, where)

    def _table(self, root: Path, path: str) -> pl.DataFrame:
        """Returns the rows of one metadata file, paths relative to the root."""
        _check_file(root, path)
        rows = read_table(root / path)
        where, base = str(root / path), posixpath.dirname(path)
        rows = rows.rename(self._renamed(rows.columns, where))
        for name in ("path", "mask"):
            if name in rows.columns:
                paths = [joined(base, value) if value else None for value in rows[name].to_list()]
                rows = rows.with_columns(pl.Series(name, paths, pl.String))
        if self.label_column is None:
            folders = [posixpath.basename(posixpath.dirname(value or "")) or None for value in rows["path"].to_list()]
            rows = rows.with_columns(pl.Series("label", folders, pl.String))
        if "split" not in rows.columns:
            rows = rows.with_columns(_splits(rows["path"].to_list(), base.split("/")[0].lower()))
        return self._labelled(rows, where)

    def _renamed(self, columns: Sequence[str], where: str) -> dict[str, str]:
        """Returns column -> the name it has in a `Reading`, where they differ."""
        mask_column = self.mask_column or (_MASK if _MASK in columns else None)
        wanted = {
            "file_column": ("path", self.file_column or _file_column(columns, where)),
            "label_column": ("label", self.label_column),
            "mask_column": ("mask", mask_column),
        }
        renamed: dict[str, str] = {}
        for key, (name, column) in wanted.items():
            if column is None:
                continue
            if column not in columns:
                raise unknown(f"data.{key}: column of {where}", column, columns)
            if column in renamed:
                raise UserError(f"data.{key}: column {shown(column)} of {where} is {renamed[column]} already.")
            renamed[column] = name
        taken = sorted(name for name in {*renamed.values(), "label"} if name in columns and name not in renamed)
        if taken:
            raise UserError(f"{where}: has a column {shown(taken[0])} beside the one that is to be it; rename one.")
        return renamed

    def _labelled(self, rows: pl.DataFrame, where: str) -> pl.DataFrame:
        """Names labels that are numbers."""
        if not self.label_names:
            return rows
        names = {str(number): name for number, name in enumerate(self.label_names)}
        strange = [label for label in rows["label"].drop_nulls().unique(maintain_order=True) if label not in names]
        if strange:
            raise UserError(
                f"data.label_names: {where} holds the label {shown(strange[0])}; "
                f"{len(names)} names are given, for 0 to {len(names) - 1}."
            )
        return rows.with_columns(pl.col("label").replace(names))


def _one_a_folder(tables: Sequence[str], root: Path) -> None:
    several = [folder for folder, count in Counter(map(posixpath.dirname, tables)).items() if count > 1]
    if several:
        names = ", ".join(sorted(posixpath.basename(path) for path in tables if posixpath.dirname(path) == several[0]))
        raise UserError(f"{root / several[0]}: holds several files of metadata ({names}); keep one.")


def _check_file(root: Path, path: str) -> None:
    """Refuses a metadata file that lies elsewhere, is none or is too large, before it is opened."""
    places = Places(root)
    if not places.inside(path):
        raise UserError(f"{root / path}: is a link that leads out of the data's folder; put the file there.")
    stamp = places.stamp(path, images=False)
    if isinstance(stamp, str):
        raise UserError(f"{root / path}: cannot be read as metadata; it is not a file.")
    if stamp.file_bytes > _MOST_BYTES:
        raise UserError(f"{root / path}: has {stamp.file_bytes:,} bytes; at most {_MOST_BYTES:,} are read.")


def _file_column(columns: Sequence[str], where: str) -> str:
    for name in ("file_name", "image_file_name"):
        if name in columns:
            return name
    others = [name for name in columns if name.endswith("_file_name") and name != _MASK]
    if len(others) == 1:
        return others[0]
    if others:
        raise UserError(f"data.file_column: {where} has {', '.join(others)}; name the column of the image.")
    raise unknown(f"data.file_column: column of {where}", "file_name", columns)


def _splits(paths: Sequence[str | None], top: str) -> pl.Series:
    """Returns the top folder where it has the name of a split: the metadata's, else each image's own."""
    folders = [top if top in SPLIT_NAMES else (path or "").split("/")[0].lower() for path in paths]
    within = [
        folder if folder in SPLIT_NAMES and "/" in (path or "") else None
        for folder, path in zip(folders, paths, strict=True)
    ]
    return pl.Series("split", within, pl.String)
