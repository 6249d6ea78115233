"""The labels of several annotators as arrays, and what the others say of each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.audit.data import AuditData, Ints
from evensight.data.annotators import MOST_CHANCES
from evensight.metrics.dawid_skene import DawidSkene, dawid_skene

# Images x classes of a consensus: 400 MB.
MOST_POSTERIOR = 50_000_000
_CHUNK = 4_000_000
_FLOOR = 1e-300


@dataclass(frozen=True)
class Labels:
    """Every label, M of them, of N images that A annotators labelled; ordered by image, annotator, class.

    Attributes:
        rows: `[N]` position of each image in the manifest, ascending.
        annotators: Names, A.
        item: `[M]` image of each label, 0 to N - 1.
        annotator: `[M]`.
        label: `[M]` class.
        first: bool `[M]`: the first label of its annotator for its image; others repeat.
        others: `[M]` annotators that labelled its image, less this one.
    """

    rows: Ints
    annotators: tuple[str, ...]
    item: Ints
    annotator: Ints
    label: Ints
    first: NDArray[np.bool_]
    others: Ints

    @property
    def single(self) -> tuple[Ints, Ints, Ints]:
        """Image, annotator and class of one label an annotator and image."""
        return self.item[self.first], self.annotator[self.first], self.label[self.first]


def labels_of(data: AuditData) -> Labels | None:
    """Returns the annotations of a data set; None where it names no annotators. Labels of no class are left out."""
    if data.annotations is None:
        return None
    classes = pl.DataFrame(
        {"label": list(data.classes), "class": range(len(data.classes))},
        schema={"label": pl.String, "class": pl.Int64},
    )
    known = data.annotations.join(classes, on="label", how="inner").filter(pl.col("annotator").is_not_null())
    known = known.sort("row", "annotator", "class")
    rows, item = np.unique(known["row"].to_numpy().astype(np.int64), return_inverse=True)
    names = known["annotator"].unique().sort().to_list()
    annotator = (known["annotator"].rank("dense").cast(pl.Int64) - 1).to_numpy().astype(np.int64)
    first = np.ones(item.size, dtype=np.bool_)
    first[1:] = (item[1:] != item[:-1]) | (annotator[1:] != annotator[:-1])
    number = np.bincount(item[first], minlength=rows.size)
    label = known["class"].to_numpy().astype(np.int64)
    return Labels(rows, tuple(names), item.astype(np.int64), annotator, label, first, number[item] - 1)


def consensus_of(labels: Labels, num_classes: int) -> DawidSkene | None:
    """Returns what all annotators together say; None where images or annotators and classes are too many for it."""
    num_annotators = len(labels.annotators)
    if num_annotators * num_classes**2 > MOST_CHANCES or labels.rows.size * num_classes > MOST_POSTERIOR:
        return None
    return dawid_skene(
        labels.item, labels.annotator, labels.label, labels.rows.size, num_classes, num_annotators=num_annotators
    )


def said_by_others(labels: Labels, found: DawidSkene) -> Ints:
    """Returns the consensus of an image without the annotator's own labels, for each label that is `first`.

    An annotator is compared with the others alone: else each agrees with a consensus that is half its own.

    Returns:
        Class `[F]`, in the order of `Labels.single`; -1 where nobody else labelled the image.
    """
    num_classes = found.prior.size
    starts = np.flatnonzero(labels.first)
    ends = np.append(starts[1:], labels.item.size)
    own = np.log(np.maximum(found.confusion, _FLOOR))
    all_of = np.log(np.maximum(found.posterior, _FLOOR))
    said = np.empty(starts.size, dtype=np.int64)
    step = max(1, _CHUNK // num_classes)
    for begin in range(0, starts.size, step):
        these = starts[begin : begin + step]
        until = int(ends[min(begin + step, starts.size) - 1])
        span = slice(int(these[0]), until)
        each = own[labels.annotator[span], :, labels.label[span]]  # [labels, truth]
        mine = np.add.reduceat(each, these - these[0], axis=0)
        said[begin : begin + step] = (all_of[labels.item[these]] - mine).argmax(axis=1)
    return np.where(labels.others[starts] > 0, said, -1)
