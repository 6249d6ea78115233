"""Side tables: what is found out about images after they were prepared, joined by row id; a row never changes.

Each is ``tables/<name>.parquet`` in the recipe's folder, beside ``tables/<name>.json``, which says what wrote it for
which content. Names that training knows: ``quarantine`` (row_id, code, reason), ``cues`` (row_id and ``<cue>_says``,
the class that a cue alone suggests), ``soft_labels`` (row_id, contested, ``p:<class>``). ``annotations``, ``origins``
and, where there are annotations, ``soft_labels`` are written by `prepare`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from evensight.data.findings import Finding, found
from evensight.data.manifest import Manifest
from evensight.files import canonical_json, digest_file, replaced, write_json
from evensight.object_file import ObjectFile

FOLDER = "tables"
SCHEMA_VERSION = 1
_HEAD = ObjectFile("a side table", "run evensight audit again, or remove the file", version=SCHEMA_VERSION)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TRIES = 3  # a table that is written anew while it is read is two files of which one is old


@dataclass(frozen=True)
class SideTable:
    """A table that was read.

    Attributes:
        name: Of its files.
        frame: With the column ``row_id``.
        digest: Of its content, whatever the order of rows and columns.
        about: What wrote it (``by``), the content digest of the data it was made for (``content``), and what else the
            writer said.
    """

    name: str
    frame: pl.DataFrame
    digest: str
    about: dict[str, Any] = field(default_factory=dict)


def write_table(folder: Path, name: str, frame: pl.DataFrame, about: Mapping[str, Any]) -> SideTable:
    """Writes a table and what is said of it, each whole, in the place of an older one.

    Args:
        folder: Of the recipe: `Manifest.folder`.
        name: Lower-case letters, digits and _.
        frame: With the text column ``row_id``.
        about: Plain values; ``by`` says what wrote it, ``content`` for which content digest.

    Raises:
        ValueError: The name is none, or there is no ``row_id``.
    """
    if not _NAME.fullmatch(name) or frame.schema.get("row_id") != pl.String:
        raise ValueError(f"side table {name!r}: needs a plain name and the text column row_id; found {frame.columns}")
    path = table_path(folder, name)
    table = SideTable(name, frame, table_digest(frame), dict(about))
    with replaced(path) as temporary:
        frame.write_parquet(temporary)
        sha256 = digest_file(temporary)
    head = {"schema_version": SCHEMA_VERSION, "name": name, "digest": table.digest, "sha256": sha256}
    shape = {"num_rows": len(frame), "columns": frame.columns}
    write_json(path.with_suffix(".json"), {**head, **shape, "about": table.about})
    return table


def read_tables(manifest: Manifest) -> dict[str, SideTable]:
    """Reads every side table of a data set, by name.

    Raises:
        UserError: One of them is broken.
    """
    names = sorted(path.stem for path in (manifest.folder / FOLDER).glob("*.json") if _NAME.fullmatch(path.stem))
    read = ((name, read_table(manifest.folder, name)) for name in names)
    return {name: table for name, table in read if table is not None}


def read_table(folder: Path, name: str) -> SideTable | None:
    """Reads one side table of a recipe's folder; None where there is none.

    Raises:
        UserError: It is broken.
    """
    path = table_path(folder, name)
    why = ""
    for _ in range(_TRIES):
        head = header(folder, name)
        if head is None:
            return None
        try:
            if digest_file(path) == head["sha256"]:
                return SideTable(name, pl.read_parquet(path, glob=False), head["digest"], head["about"])
            why = f"it is not the file that {path.stem}.json describes"
        except OSError as error:
            why = error.strerror or str(error)
        except pl.exceptions.PolarsError as error:
            why = str(error).splitlines()[0]
    raise _HEAD.broken(path, why)


def header(folder: Path, name: str) -> dict[str, Any] | None:
    """Returns what is said of a table, without reading it; None where there is none.

    Raises:
        UserError: It is broken.
    """
    path = table_path(folder, name).with_suffix(".json")
    head = _HEAD.read_if_there(path)
    kinds = {"digest": str, "sha256": str, "columns": list, "about": dict}
    lacking = [key for key, kind in kinds.items() if head is not None and not isinstance(head.get(key), kind)]
    if lacking:
        raise _HEAD.broken(path, f"it lacks {', '.join(lacking)}")
    return head


def remove_table(folder: Path, name: str) -> None:
    """Takes a table away, where it is there."""
    path = table_path(folder, name)
    path.with_suffix(".json").unlink(missing_ok=True)  # first: without it there is no table
    path.unlink(missing_ok=True)


def table_path(folder: Path, name: str) -> Path:
    """Returns where the rows of a table are, ``tables/<name>.parquet``."""
    return folder / FOLDER / f"{name}.parquet"


def table_digest(frame: pl.DataFrame) -> str:
    """Returns the SHA-256 (hex) of names, types and values of a table, whatever the order of its rows and columns."""
    names = sorted(frame.columns)
    plain = [name for name in names if not frame.schema[name].is_nested()]
    ordered = frame.select(names).sort(plain, nulls_last=True) if plain else frame
    digest = hashlib.sha256(canonical_json([[name, str(frame.schema[name])] for name in names]).encode())
    for name in names:
        values = ordered[name]
        digest.update(values.is_null().to_numpy().tobytes())
        if values.dtype == pl.String:
            texts = values.fill_null("")
            digest.update(texts.str.len_bytes().to_numpy().astype("<u8").tobytes())
            digest.update("".join(texts.to_list()).encode())
        elif values.dtype.is_numeric() or values.dtype == pl.Boolean:
            kind = np.dtype("u1" if values.dtype == pl.Boolean else values.to_numpy().dtype).newbyteorder("<")
            digest.update(values.fill_null(0 if values.dtype.is_numeric() else False).to_numpy().astype(kind).tobytes())
        else:
            digest.update(canonical_json([str(value) for value in values.to_list()]).encode())
    return digest.hexdigest()


def strangers(manifest: Manifest, table: SideTable) -> list[Finding]:
    """Reports lines about images that the data does not hold (any more); nothing is made of them."""
    strange = table.frame.join(manifest.frame.select("row_id"), on="row_id", how="anti")["row_id"]
    message = f"lines of the side table {table.name} about images that are not in the data; not used"
    return found("unknown_row_id", strange.to_list(), message)
