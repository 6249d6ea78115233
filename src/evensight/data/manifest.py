"""The manifest: one row an image, in a fixed order, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data.digests import Digests
from evensight.data.findings import Finding
from evensight.data.reading import SPLITS
from evensight.data.sources import read_source
from evensight.errors import unknown


@dataclass(frozen=True)
class Manifest:
    """A prepared data set.

    Columns of `frame`:

    - ``index``: int64, 0 to N-1, the position in this version
    - ``row_id``: pixel digest, box and number among equals: the same in every version
    - ``path``: relative to `root`, or ``file.npy#row``, ``file.npz:member#row``
    - ``label``: a name of `classes`
    - ``split``: ``train``, ``validation`` or ``test``
    - one text column for each attribute of `levels`, null where unknown
    - where known, ``mask`` (a path) and ``box_x0, box_y0, box_x1, box_y1`` (pixels)
    - ``pixel_sha256``, ``width``, ``height``: of the decoded image; null where it cannot be decoded
    - ``error``: null, or ``"code: what is wrong"``: such a row has weight 0 everywhere
    - ``file_bytes``, ``file_mtime_ns``, ``file_ctime_ns``: of the file when it was decoded (`places.Stamp`)

    Side tables are joined in memory by `side_tables.with_side_tables` and change nothing on the disk: computed
    attributes become columns, `left_out` marks rows that training does not use, `targets` are soft labels.
    """

    name: str
    root: Path
    folder: Path  # datasets/<name>/<recipe>
    frame: pl.DataFrame
    classes: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]  # attribute -> its levels in order
    usual: dict[str, tuple[int, ...]]  # attribute -> index of the usual level of each class [K]
    digests: Digests
    sealed: bool
    findings: list[Finding]
    mask_root: Path | None = None  # of the masks, where it is another folder than `root`
    side_tables: dict[str, str] = field(default_factory=dict)  # name -> digest of each that was read
    left_out: NDArray[np.bool_] | None = None  # [N], rows of weight 0 in training; None: none
    targets: NDArray[np.float32] | None = None  # [N,K], soft labels; None: the labels alone

    @property
    def annotations(self) -> pl.DataFrame | None:
        """What each annotator said: ``row_id``, ``annotator``, ``label``; None where the data names no annotators.

        Raises:
            UserError: The table is broken.
        """
        from evensight.data.tables import read_table

        table = read_table(self.folder, "annotations")
        return None if table is None else table.frame

    def split(self, name: str) -> pl.DataFrame:
        """Returns the rows of one split, in the order of the manifest.

        Raises:
            UserError: `name` is no split.
        """
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        return self.frame.filter(pl.col("split") == name)

    def labels(self, split: str) -> NDArray[np.int64]:
        """Returns the class index of each row of a split `[N]`, rows in error too."""
        return indices(self.split(split)["label"], self.classes)

    def attributes(self, split: str) -> NDArray[np.int64]:
        """Returns the level index of each row and attribute `[N,A]`, -1 where unknown; A in the order of `levels`."""
        rows = self.split(split)
        columns = [indices(rows[name], levels) for name, levels in self.levels.items()]
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0), np.int64)

    def trained(self) -> NDArray[np.bool_]:
        """Returns which rows of the training split training uses `[N]`: decodable, and not left out."""
        train = (self.frame["split"] == "train").to_numpy()
        decoded: NDArray[np.bool_] = self.frame["error"].is_null().to_numpy()[train]
        return decoded if self.left_out is None else decoded & ~self.left_out[train]

    def counts(self, split: str) -> dict[str, NDArray[np.int64]]:
        """Counts the decodable images of a split, those that are left out of training too.

        Returns:
            ``"overall"``: images of each class `[K]`; for each attribute, of each class and level `[K,L]`, images of
            unknown level left out.
        """
        decoded = self.split(split)["error"].is_null().to_numpy()
        labels, attributes = self.labels(split)[decoded], self.attributes(split)[decoded]
        num_classes = len(self.classes)
        counts = {"overall": np.bincount(labels, minlength=num_classes).astype(np.int64)}
        for column, (name, levels) in enumerate(self.levels.items()):
            known = attributes[:, column] >= 0
            cells = labels[known] * len(levels) + attributes[known, column]
            table = np.bincount(cells, minlength=num_classes * len(levels)).astype(np.int64)
            counts[name] = table.reshape(num_classes, len(levels))
        return counts

    def read(self, row: Mapping[str, Any]) -> bytes | NDArray[np.uint8]:
        """Returns what is stored of a row's image; see `sources.read_source`."""
        return read_source(self, row)


def indices(values: pl.Series, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Returns the position of each value in `names`, -1 for null or a name that is not there `[N]`."""
    positions = {name: position for position, name in enumerate(names)}
    return np.array([positions.get(value, -1) for value in values.to_list()], dtype=np.int64)
