"""What `prepare` keeps of a data set: ``manifest.parquet``, and ``prepared.json``, which says what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from evensight.data.digests import Digests
from evensight.data.findings import Finding
from evensight.data.manifest import Manifest
from evensight.data.parquet import read_parquet
from evensight.data.tables import table_path
from evensight.files import digest_file, digest_json, replaced, write_json

TABLE, HEADER = "manifest.parquet", "prepared.json"
SCHEMA_VERSION = 1


def key_of(rows: pl.DataFrame, settings: dict[str, Any]) -> str:
    """Returns the digest of all that a manifest is made from: rows with the stamps of their files, and settings."""
    table = hashlib.sha256(rows.write_csv(null_value="\x00").encode()).hexdigest()
    return digest_json({"schema_version": SCHEMA_VERSION, "columns": rows.columns, "rows": table, **settings})


def keep(manifest: Manifest, key: str, tables: Sequence[str] = ()) -> None:
    """Writes table and header, each whole; the header last, since it names the table it belongs to.

    Args:
        manifest: To keep.
        key: What it was made from.
        tables: Side tables that were written with it, which are to be there when it is loaded.
    """
    with replaced(manifest.folder / TABLE) as temporary:
        manifest.frame.write_parquet(temporary)
        table = digest_file(temporary)
    header = {
        "schema_version": SCHEMA_VERSION,
        "key": key,
        "table_sha256": table,
        "classes": list(manifest.classes),
        "levels": {name: list(levels) for name, levels in manifest.levels.items()},
        "usual": {name: list(levels) for name, levels in manifest.usual.items()},
        "digests": asdict(manifest.digests),
        "findings": [finding.to_dict() for finding in manifest.findings],
        "tables": {name: digest_file(table_path(manifest.folder, name)) for name in tables},
    }
    write_json(manifest.folder / HEADER, header)


def load(folder: Path, key: str, name: str, root: Path, sealed: bool, mask_root: Path | None = None) -> Manifest | None:
    """Returns the manifest that was kept, or None where it was made from anything else or is damaged."""
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if header["key"] != key or header["table_sha256"] != digest_file(folder / TABLE):
            return None
        for table, sha256 in header.get("tables", {}).items():
            if digest_file(table_path(folder, table)) != sha256:
                return None
        return Manifest(
            name=name,
            root=root,
            folder=folder,
            frame=pl.read_parquet(folder / TABLE, glob=False),
            classes=tuple(header["classes"]),
            levels={name: tuple(levels) for name, levels in header["levels"].items()},
            usual={name: tuple(levels) for name, levels in header["usual"].items()},
            digests=Digests(**header["digests"]),
            sealed=sealed,
            findings=[Finding(**finding) for finding in header["findings"]],
            mask_root=mask_root,
        )
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return None


def known_splits(folder: Path) -> dict[str, str]:
    """Returns the split of each pixel digest in the manifest kept last, so that images known by content keep theirs."""
    try:
        table = read_parquet(folder / TABLE, ["pixel_sha256", "split"]).cast(pl.String).drop_nulls()
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return dict(table.iter_rows())
