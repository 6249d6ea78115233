"""What identifies pixels, rows and data sets. No path enters a digest of content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.config import DataConfig
from evensight.files import canonical_json, digest_json

# Settings that change neither the images nor their rows. What is found out later, and the label that is used of
# several, are side tables of one recipe.
NOT_RECIPE = (
    *("name", "sealed", "batch_size", "eval_batch_size", "num_workers", "cache_mb"),
    *("labels", "contested", "side_tables"),
)
# Settings that are younger than data sets that are kept, and what those were made with.
YOUNGER: dict[str, Any] = {
    "keep_together": [],
    "stratify": [],
    "near_duplicates": "keep_together",
    "label": "shape",  # of the reader of shapes
}
RENAMED = {"label_member": "labels"}  # key -> what it was when data sets were first kept
BOX = ("box_x0", "box_y0", "box_x1", "box_y1")


@dataclasses.dataclass(frozen=True)
class Digests:
    """Three SHA-256 (hex): how the data set is made, what is in it, what is in its test split."""

    recipe: str
    content: str
    test: str


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Returns the SHA-256 (hex) of decoded RGB pixels `[H,W,3]`: height and width, then the bytes row by row."""
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{height} {width}\n".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def recipe_digest(data: DataConfig) -> str:
    """Returns the digest of what makes a data set: the reader's version and its settings less `NOT_RECIPE`.

    A setting of `YOUNGER` counts where it has another value, so that data sets keep their folders and splits.
    """
    settings = {key: value for key, value in dataclasses.asdict(data).items() if key not in NOT_RECIPE}
    settings = {key: value for key, value in settings.items() if key not in YOUNGER or value != YOUNGER[key]}
    settings = {RENAMED.get(key, key): value for key, value in settings.items()}
    return digest_json({"version": getattr(data, "version", 1), "settings": settings})


def content_digest(rows: pl.DataFrame, attributes: Sequence[str]) -> str:
    """Returns the digest of rows, whatever their order: content, split, label, attributes and box of each.

    Args:
        rows: Columns ``content_key`` (see `scan.scan`), ``label``, ``split``, the attributes, and boxes where known.
        attributes: Names of the declared attributes; their order is of no account.
    """
    columns = ["content_key", "label", "split", *sorted(attributes), *(name for name in BOX if name in rows.columns)]
    lines = sorted(canonical_json(list(row)) for row in rows.select(columns).iter_rows())
    digest = hashlib.sha256(canonical_json(columns).encode())
    for line in lines:
        digest.update(b"\n" + line.encode())
    return digest.hexdigest()


def content_keys(ids: pl.Series) -> pl.Series:
    """Returns the content key of each row from its id, as `content_digest` takes them."""
    return ids.str.extract(r"^([^@#]*)").alias("content_key")


def row_ids(rows: pl.DataFrame) -> list[str]:
    """Returns one unique name a row: content, box where known, and its number among equals.

    Args:
        rows: Columns ``content_key`` and, where known, `BOX`.
    """
    boxes = [name for name in BOX if name in rows.columns]
    seen: dict[tuple[Any, ...], int] = {}
    names = []
    for content, *box in rows.select("content_key", *boxes).iter_rows():
        key = (content, *box)
        number = seen.get(key, 0)
        seen[key] = number + 1
        shown = "@" + ",".join(f"{side:g}" for side in box) if box and None not in box else ""
        names.append(f"{content}{shown}#{number}")
    return names
