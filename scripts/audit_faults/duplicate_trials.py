"""Trials of the search for near duplicates: copies planted across the splits, and images of which none is a copy."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import copies
import numpy as np
import pools
from numpy.typing import NDArray
from running import rate

from evensight.data.datasets.shapes import ShapesReader, scenes_of
from evensight.data.similar import near_pairs
from evensight.runtime.decode import decode_array

Pixels = NDArray[np.uint8]
COPIED = 20  # copies of each kind and strength in a data set
DRAWS = 6  # data sets with copies
CLEAN_TRAIN, CLEAN_TEST = 200, 100
DATA = ("digits", "photographs", "shapes")
# Pairs that were looked at: the same photograph, stored again, cropped or set in a frame.
SAME = (
    ("train/climbing_18.jpg", "train/climbing_187.jpg"),
    ("train/diving_139.jpg", "train/diving_4.jpg"),
    ("train/pole vaulting_127.jpg", "train/pole vaulting_75.jpg"),
    ("train/throwing_119.jpg", "train/throwing_136.jpg"),
    ("train/throwing_169.jpg", "train/throwing_44.jpg"),
)


def images_of(data: str) -> tuple[list[Pixels], list[str]]:
    """Returns images and their names."""
    if data == "photographs":
        found = [pools.bar_files(split) for split in ("train", "test")]
        return [decode_array(content) for contents, _, _ in found for content in contents], [
            f"{split}/{name}" for split, (_, names, _) in zip(("train", "test"), found, strict=True) for name in names
        ]
    if data == "digits":
        images, _ = pools.mnist("test")
        return [pools.rgb(image) for image in images], [str(i) for i in range(len(images))]
    reader = ShapesReader(correlation=0.0, seed=15)
    drawn, _ = pools.drawn_shapes(lambda at: scenes_of(reader, "train", at), 3000)
    return drawn, [str(i) for i in range(len(drawn))]


def duplicate_rows(num_processes: int, clean: int) -> list[dict[str, Any]]:
    """Returns the rows of the table, data by data."""
    with ProcessPoolExecutor(num_processes, get_context("spawn")) as executor:
        hits = {data: [executor.submit(_planted, data, turn) for turn in range(DRAWS)] for data in DATA}
        others = {data: [executor.submit(_natural, data), executor.submit(_clean, data, clean)] for data in DATA}
        rows: list[dict[str, Any]] = []
        for data in DATA:
            rows += _recall(data, np.sum([part.result() for part in hits[data]], axis=0))
            rows += [row for part in others[data] for row in part.result()]
    return rows


def _kinds() -> list[tuple[str, str, copies.Make]]:
    return [(kind, strength, make) for kind, of in copies.KINDS.items() for strength, make in of.items()]


@functools.cache
def _hashed(data: str) -> tuple[list[Pixels], list[str], copies.Hashed]:
    images, names = images_of(data)
    return images, names, copies.hashed(images)


def _planted(data: str, turn: int) -> NDArray[np.int64]:
    """Returns how many copies of each kind and strength are found, of `COPIED` each in one data set."""
    images, _, originals = _hashed(data)
    kinds = _kinds()
    rng = np.random.default_rng([16, turn])
    order = rng.permutation(len(images))
    num_train = len(images) * 2 // 3
    train, test = order[:num_train], order[num_train:]
    of = rng.choice(train, COPIED * len(kinds), replace=False)
    made = [kinds[i // COPIED][2](images[at], rng) for i, at in enumerate(of.tolist())]
    found = copies.search(originals, train, test, copies.hashed(made), of, mirrored=True)
    hits: NDArray[np.int64] = found.planted.reshape(len(kinds), COPIED).sum(axis=1)
    return hits


def _recall(data: str, hits: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    kinds = _kinds()
    for (kind, strength, _), x in zip(kinds, hits.tolist(), strict=True):
        yield _row(data, f"near duplicates across splits: {kind}", strength, x, DRAWS * COPIED, False)
    plain = [i for i, (kind, _, _) in enumerate(kinds) if kind != "mirror"]
    n = DRAWS * COPIED * len(plain)
    yield _row(data, "near duplicates across splits: all but mirrored", "all", hits[plain].sum(), n, False)


def _natural(data: str) -> list[dict[str, Any]]:
    """Every image as it is: the pairs that are found, by name, to be looked at."""
    _, names, originals = _hashed(data)
    pairs = near_pairs(originals.hashes, originals.thumbnails)
    listed = [[names[a], names[b]] for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    # Images in a pair that nobody has found to be the same picture: those of `SAME` are no false alarms.
    false = {name for pair in listed if tuple(sorted(pair)) not in SAME for name in pair}
    row = _row(data, "none: images as they are, in any pair that is no copy", "", len(false), len(names), True)
    return [{**row, "pairs": listed[:200]}]


def _clean(data: str, clean: int) -> list[dict[str, Any]]:
    """Data sets without a planted copy: a pair across the splits is a false alarm, but where the data has copies."""
    if data == "photographs":
        return []  # the pairs of the line above are in every draw that holds both
    _, _, originals = _hashed(data)
    x = 0
    for turn in range(clean):
        rng = np.random.default_rng([17, turn])
        order = rng.choice(len(originals), CLEAN_TRAIN + CLEAN_TEST, replace=False)
        pairs = near_pairs(originals.hashes[order], originals.thumbnails[order])
        x += bool(((pairs.first < CLEAN_TRAIN) & (pairs.second >= CLEAN_TRAIN)).any())
    return [_row(data, "none: a pair across the splits of a data set", "", x, clean, True)]


def _row(data: str, fault: str, strength: str, x: int, n: int, clean: bool) -> dict[str, Any]:
    return {"chapter": "duplicates", "fault": fault, "data": data, "strength": strength, **rate(int(x), int(n), clean)}
