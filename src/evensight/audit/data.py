"""What every chapter of the audit reads: the manifest's rows as arrays, and what one pass over the images measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data.manifest import Manifest
from evensight.objective.objective import Objective

Ints = NDArray[np.int64]
UNKNOWN = -1


@dataclass(frozen=True)
class Scores:
    """What one pass over the images measured, of N rows in the order of the manifest.

    Attributes:
        properties: One row an image, columns as `properties.COLUMNS`; null where the image cannot be decoded.
        hashes: uint64 `[N, W]`, the perceptual hash of the whole frame (`evensight.data.similar`).
        thumbnails: uint8 `[N, T, T]`, luma of the whole frame squeezed to a square; may be mapped from a file.
        features: By cue, float32 `[N, F]`: `Cue.describe` of the preprocessed image; may be mapped from a file.
        measured: bool `[N]`, False for an image that could not be decoded: its figures are 0.
    """

    properties: pl.DataFrame
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    features: Mapping[str, NDArray[np.float32]]
    measured: NDArray[np.bool_]


@dataclass(frozen=True)
class AuditData:
    """A data set as the audit sees it. Where the test split is closed, its labels and attributes are unknown here.

    Attributes:
        classes: Class names in the objective's order, K.
        levels: Attribute -> its levels in order.
        splits: text `[N]`: ``train``, ``validation``, ``test``.
        labels: int64 `[N]`, class index, -1 where unknown or closed.
        attributes: Attribute -> level index int64 `[N]`, -1 where unknown or closed.
        scores: What was measured of the images.
        objective: Resolved.
        open_test: Whether labels and attributes of test images may be read.
        counts: Split -> ``overall`` `[K]` and each attribute `[K, L]`: images, of every split, which may always be read
            (`Manifest.counts`).
        annotations: Columns ``row`` (position), ``annotator``, ``label`` (a class name), one line a label; None where
            the data set names no annotators. Without rows of a closed test split.
        manifest: Of the files; None for a draw from scored pools.
        row_ids: text `[N]`.
        paths: text `[N]`.
        alpha: 1 - confidence of the objective.
        usual: Attribute -> usual level of each class `[K]`, where the data set knows one.
    """

    classes: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    splits: NDArray[np.str_]
    labels: Ints
    attributes: Mapping[str, Ints]
    scores: Scores
    objective: Objective
    open_test: bool
    counts: Mapping[str, Mapping[str, Ints]]
    row_ids: list[str]
    paths: list[str]
    annotations: pl.DataFrame | None = None
    manifest: Manifest | None = None
    usual: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def alpha(self) -> float:
        """How often a bound may err on its side."""
        return self.objective.alpha

    def __len__(self) -> int:
        return len(self.labels)

    def within(self, *splits: str) -> NDArray[np.bool_]:
        """Returns which rows lie in these splits and could be decoded, bool `[N]`."""
        return np.isin(self.splits, splits) & self.scores.measured
