"""The thumbnails that near duplicates are found by, kept by content beside the manifest: one file, read as it is asked.

Only a data set whose rows have to be placed has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data import similar
from evensight.data.reading import Progress
from evensight.data.together import ALONE
from evensight.files import replaced

KEPT = "thumbnails.npy"
_ROW = np.dtype([("key", "S64"), ("small", "u1", (similar.SIDE, similar.SIDE))])
_CHUNK = 8192  # thumbnails hashed at once
_NONE = np.zeros(0, _ROW)

Ints = NDArray[np.int64]
Small = NDArray[np.uint8]


def kept(folder: Path) -> NDArray[np.void]:
    """Returns the rows ``key`` (pixel digest) and ``small`` that are kept, mapped; none where there is no good file."""
    try:
        rows: NDArray[np.void] = np.load(folder / KEPT, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return _NONE
    return rows if rows.dtype == _ROW and rows.ndim == 1 else _NONE


@contextmanager
def adding(folder: Path, places: Ints, num_new: int) -> Iterator[Callable[[tuple[str, Small] | None], None]]:
    """Writes the file anew with the rows that are at `places`, and yields what adds one row; None adds an empty one.

    All `num_new` rows are to be added; the file takes its place behind them.
    """
    header = {"descr": np.lib.format.dtype_to_descr(_ROW), "fortran_order": False, "shape": (len(places) + num_new,)}
    old = kept(folder)
    with replaced(folder / KEPT) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(places), _CHUNK):
            file.write(old[places[start : start + _CHUNK]].tobytes())

        def add(one: tuple[str, Small] | None) -> None:
            row = np.zeros((), _ROW)
            if one is not None:
                row["key"], row["small"] = one[0].encode(), one[1]
            file.write(row.tobytes())

        yield add


def near_duplicates(folder: Path, contents: pl.Series, progress: Progress) -> Ints:
    """Returns which rows are near duplicates of each other, a relation as of `together.components` `[N]`.

    The same for every order of the rows.

    Args:
        folder: Where `KEPT` is.
        contents: Content key of each row.
        progress: Told of the work.
    """
    rows = kept(folder)
    names = pl.DataFrame({"key": rows["key"].astype("U64")}).with_row_index("place").filter(pl.col("key") != "")
    names = names.unique("key", keep="first").join(pl.DataFrame({"key": contents.unique()}), on="key", how="semi")
    names = names.sort("key").with_columns(pl.int_range(pl.len()).alias("number"))
    small = _Ordered(rows, names["place"].to_numpy().astype(np.int64))
    pairs = similar.near_pairs(_hashes(small), small, progress=progress)
    cluster = similar.clusters(len(small), pairs)
    table = names.select("key", pl.Series("cluster", cluster))
    found = pl.DataFrame({"key": contents}).join(table, on="key", how="left", maintain_order="left")
    relation: Ints = found["cluster"].fill_null(ALONE).to_numpy().astype(np.int64)
    return relation


class _Ordered:
    """Thumbnails in another order than the file's, read when they are indexed."""

    def __init__(self, rows: NDArray[np.void], order: Ints) -> None:
        self._rows, self._order = rows, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, positions: slice | Ints, /) -> Small:
        chosen: Small = self._rows[self._order[positions]]["small"]
        return chosen


def _hashes(small: _Ordered) -> NDArray[np.uint64]:
    parts = [similar.hashes_of(small[slice(at, at + _CHUNK)]) for at in range(0, len(small), _CHUNK)]
    return np.concatenate([np.zeros((0, similar.WORDS), np.uint64), *parts])
