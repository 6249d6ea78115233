"""An older version of a data set with what annotators added to it since: written by `evensight update action=merge`.

The older version is listed in a table of its own, with the split of every row, so that no old row ever moves; the
images stay where they are. The additions lie in the folder of the merge. One root above both is what paths are
relative to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import MISSING

from evensight.data import scan
from evensight.data.digests import BOX, content_keys
from evensight.data.places import Stamp
from evensight.data.reading import Progress, Reader, Reading, existing_root
from evensight.errors import UserError
from evensight.files import digest_file, digest_json, replaced
from evensight.object_file import ObjectFile

HEAD, BASE, ADDITIONS = "merge.json", "base.parquet", "additions.parquet"
SCHEMA_VERSION = 1
_HEAD = ObjectFile(
    "the head of a merge",
    "merge again",
    "there is no merge; data.additions names what evensight update action=merge wrote",
    SCHEMA_VERSION,
)
# What is known of the old images' pixels, so that they need not be decoded again where their files are the same.
LEARNED = (*Stamp._fields, "content_key", "pixel_sha256", "width", "height", "error")
# Columns of the additions that say where they are from: a side table of origins, no attributes.
ORIGINS = ("added_id", "added_for", "added_by")


@dataclass
class MergedReader(Reader):
    """Reads the rows of an older version and of what was added to it."""

    reader: str = "merged"  # a name of names.READERS
    additions: str = MISSING  # the folder that evensight update action=merge wrote
    base: str | None = None  # folder of the older version's images; null: where they were
    base_masks: str | None = None  # folder of its masks; null: where they were
    digest: str | None = None  # of what was merged, as merge.json says it; null takes what is there

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Lists the old rows in their order, then the new ones; see `Reader.read`.

        Raises:
            UserError: There is no merge, its files were altered, or the old images are gone.
        """
        merged = existing_root(self.additions, "data.additions")
        head = read_head(merged)
        if self.digest is not None and self.digest != head["digest"]:
            raise UserError(
                f"data.digest: {merged} holds another merge (digest {str(head['digest'])[:12]}, wanted "
                f"{self.digest[:12]}); bring the old one back, or leave data.digest out."
            )
        roots = {"path": self._base(head, "root", self.base, "data.base")}
        if head["base"]["mask_root"] is not None:
            roots["mask"] = self._base(head, "mask_root", self.base_masks, "data.base_masks")
        old, new = pl.read_parquet(merged / BASE, glob=False), pl.read_parquet(merged / ADDITIONS, glob=False)
        root = Path(os.path.commonpath([merged, *roots.values()]))
        old = old.with_columns(
            below(old[name], roots.get(name, roots["path"]), root) for name in ("path", "mask") if name in old.columns
        )
        _carry_over(folder, old)
        new = new.with_columns(below(new["path"], merged, root))
        rows = pl.concat([old.drop(LEARNED), new], how="diagonal")
        return Reading(rows=rows, root=root, usual=head["usual"])

    def _base(self, head: Mapping[str, Any], name: str, given: str | None, key: str) -> Path:
        return existing_root(given if given is not None else str(head["base"][name]), key)


def read_head(folder: Path) -> dict[str, Any]:
    """Returns `merge.json` of a merge whose tables are what it says.

    Raises:
        UserError: There is none, or something was altered.
    """
    path = folder / HEAD
    head = _HEAD.read(path)
    try:
        altered = [name for name in (BASE, ADDITIONS) if digest_file(folder / name) != head["tables"][name]]
        whole = not altered and head["digest"] == merge_digest(head["tables"], head["usual"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _HEAD.broken(path, error) from None
    if not whole:
        raise UserError(f"{folder / (altered or [HEAD])[0]} was altered since it was merged; merge again.")
    return head


def merge_digest(tables: Mapping[str, str], usual: Mapping[str, Mapping[str, str]]) -> str:
    """Returns the digest of a merge from those of its tables and from the usual levels."""
    return digest_json({"tables": dict(tables), "usual": {name: dict(table) for name, table in usual.items()}})


def below(paths: pl.Series, folder: Path, root: Path) -> pl.Series:
    """Returns paths that are relative to a folder as paths relative to a root above it."""
    prefix = os.path.relpath(folder, root).replace(os.sep, "/")
    return paths if prefix == "." else (pl.Series(paths.name, [prefix + "/"]) + paths)


def base_table(frame: pl.DataFrame, levels: Mapping[str, Any]) -> pl.DataFrame:
    """Returns what is kept of the rows of a manifest: what each image is, and what is known of its pixels."""
    known = [name for name in ("mask", *BOX) if name in frame.columns]
    rows = frame.with_columns(content_keys(frame["row_id"]))
    return rows.select("path", "label", "split", *levels, *known, *LEARNED)


def _carry_over(folder: Path, old: pl.DataFrame) -> None:
    """Keeps what was learned of the old images where `scan` looks for it; a file that changed is decoded anew."""
    path = folder / scan.KEPT
    if not path.exists():
        lasting = old.filter(~pl.col("error").fill_null("").str.starts_with(scan.UNREADABLE))
        with replaced(path) as temporary:
            lasting.select("path", *LEARNED).unique("path", keep="first", maintain_order=True).write_parquet(temporary)
