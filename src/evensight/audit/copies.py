"""Which images of a data set are the same picture, by split: equal, nearly equal, or each other's mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.audit.data import AuditData, Ints
from evensight.data.reading import SPLITS
from evensight.data.similar import Pairs, clusters, let_go, near_pairs
from evensight.progress import Progress

Mask = NDArray[np.bool_]
TRAIN, VALIDATION, TEST = range(3)
# Looking for mirror images takes as long again, and it is no copying but a question of taste whether they matter.
MOST_MIRRORED = 100_000


@dataclass(frozen=True)
class Copies:
    """What is the same picture; a group is the rows of equal pixels and equal box, G of them.

    Attributes:
        group: Group of each row, -1 where the image could not be decoded `[N]`.
        first: First row of each group `[G]`.
        near: Pairs of groups that are nearly equal, and not mirrored.
        mirrored: Pairs of groups that are mirror images.
        has: Whether a group has rows in a split, in the order of `SPLITS` `[G, 3]`.
        near_has: Whether a group has a near pair with one that has rows in a split `[G, 3]`.
        mirrored_has: As `near_has`, of mirror images.
        cluster: Cluster of each group, linked by near pairs: the smallest group in it `[G]`.
    """

    group: Ints
    first: Ints
    near: Pairs
    mirrored: Pairs
    has: Mask
    near_has: Mask
    mirrored_has: Mask
    cluster: Ints

    def rows_with(self, table: Mask, split: int) -> Mask:
        """Returns which rows have, by one of the three tables, a picture in a split `[N]`."""
        return (self.group >= 0) & table[np.maximum(self.group, 0), split] if len(table) else self.group >= 0

    def sizes(self) -> Ints:
        """Returns the rows of each group `[G]`."""
        return np.bincount(self.group[self.group >= 0], minlength=len(self.first))


def copies(data: AuditData, seed: int, progress: Progress) -> Copies:
    """Finds the copies among the images that could be decoded.

    Args:
        data: The data set.
        seed: Of the samples `near_pairs` draws.
        progress: Told of the work.
    """
    group, first = _groups(data)
    mirrors = len(first) <= MOST_MIRRORED
    pairs = near_pairs(
        data.scores.hashes[first],
        _Chosen(data.scores.thumbnails, first),
        seed=seed,
        mirrored=mirrors,
        progress=progress,
    )
    pairs = _less(pairs, ~_one_picture(data, first, pairs))
    near, mirrored = _less(pairs, ~pairs.mirrored), _less(pairs, pairs.mirrored)
    also = np.isin(_keys(mirrored, len(first)), _keys(near, len(first)))
    mirrored = _less(mirrored, ~also)  # a symmetric picture's copy is its mirror image too
    split = np.searchsorted(np.array(sorted(SPLITS)), data.splits)
    split = np.array([SPLITS.index(name) for name in sorted(SPLITS)])[split]
    has = np.zeros((len(first), 3), np.bool_)
    has[group[group >= 0], split[group >= 0]] = True
    cluster = clusters(len(first), near)
    return Copies(group, first, near, mirrored, has, _reached(near, has), _reached(mirrored, has), cluster)


class _Chosen:
    """Thumbnails of some rows, read when they are asked for."""

    def __init__(self, thumbnails: NDArray[np.uint8], rows: Ints) -> None:
        self._thumbnails, self._rows = thumbnails, rows

    def __getitem__(self, positions: Ints) -> NDArray[np.uint8]:
        chosen: NDArray[np.uint8] = self._thumbnails[self._rows[positions]]
        let_go(self._thumbnails)
        return chosen


def _groups(data: AuditData) -> tuple[Ints, Ints]:
    """Numbers the groups in the order of their first rows. A row id is content, box, and a number among equals."""
    frame = pl.DataFrame({"id": data.row_ids, "measured": data.scores.measured}).with_row_index("row")
    frame = frame.filter("measured").with_columns(pl.col("id").str.replace(r"#\d+$", ""))
    first = frame.group_by("id").agg(pl.col("row").min().alias("first")).sort("first").with_row_index("group")
    frame = frame.join(first, on="id", how="left", maintain_order="left")
    group = np.full(len(data), -1, np.int64)
    group[frame["row"].to_numpy()] = frame["group"].to_numpy()
    return group, first["first"].to_numpy().astype(np.int64)


def _one_picture(data: AuditData, first: Ints, pairs: Pairs) -> Mask:
    """Whether a pair is two boxes of one picture: two objects, no copies `[M]`."""
    content = pl.Series(data.row_ids).gather(np.concatenate([first[pairs.first], first[pairs.second]]))
    content = content.str.replace(r"[@#].*$", "").cast(pl.Categorical).to_physical()
    codes = content.to_numpy()
    return np.asarray(codes[: len(pairs)] == codes[len(pairs) :])


def _less(pairs: Pairs, kept: Mask) -> Pairs:
    return Pairs(pairs.first[kept], pairs.second[kept], pairs.similarity[kept], pairs.mirrored[kept])


def _keys(pairs: Pairs, num: int) -> Ints:
    return pairs.first * num + pairs.second


def _reached(pairs: Pairs, has: Mask) -> Mask:
    reached = np.zeros_like(has)
    np.logical_or.at(reached, pairs.first, has[pairs.second])
    np.logical_or.at(reached, pairs.second, has[pairs.first])
    return reached
