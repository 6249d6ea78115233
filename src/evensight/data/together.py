"""Which rows must not be parted: equal pixels, equal values of a column, near duplicates, and chains of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
ALONE = -1  # of a row that a relation ties to no other


def codes(values: pl.Series) -> Ints:
    """Returns a number for each value `[N]`, in the order of the values; `ALONE` for null."""
    ranks = values.rank("dense").cast(pl.Int64) - 1
    return ranks.fill_null(ALONE).to_numpy().astype(np.int64)


def components(relations: Sequence[Ints], num_rows: int) -> Ints:
    """Returns a number for each row `[N]`, equal for rows that hang together by any chain of the relations.

    Args:
        relations: `[N]` each: rows of equal number belong together; `ALONE` ties a row to nothing.
        num_rows: N.
    """
    tails, heads = [], []
    first = num_rows
    for relation in relations:
        rows = np.flatnonzero(relation != ALONE)
        tails.append(rows)
        heads.append(first + relation[rows])
        first += int(relation.max(initial=ALONE)) + 1
    tail, head = (np.concatenate([np.zeros(0, np.int64), *part]) for part in (tails, heads))
    # Every group is a node of its own, tied to its rows: as many edges as rows, whatever the size of a group.
    graph = coo_matrix((np.ones(len(tail), np.bool_), (tail, head)), shape=(first, first))
    _, found = connected_components(graph, directed=False)
    return np.asarray(found[:num_rows], np.int64)


def parted(relation: Ints, contents: Ints, splits: Ints) -> list[Ints]:
    """Returns the rows of each group that lies in several splits, the largest first.

    Args:
        relation: `[N]`, as of `components`.
        contents: `[N]`; a group of one content is not reported, whatever the splits of its rows.
        splits: `[N]`.
    """
    table = pl.DataFrame({"group": relation, "content": contents, "split": splits}).with_row_index("row")
    table = table.filter(pl.col("group") != ALONE)
    groups = table.group_by("group").agg(pl.col("row"), pl.col("content").n_unique(), pl.col("split").n_unique())
    several = groups.filter((pl.col("content") > 1) & (pl.col("split") > 1))
    several = several.sort(pl.col("row").list.len(), pl.col("row").list.first(), descending=[True, False])
    return [np.asarray(rows, np.int64) for rows in several["row"].to_list()]
