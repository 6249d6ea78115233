"""Trials of the search for near duplicates: copies planted across the splits, and images of which none is a copy."""

from __future__ import annotations

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
DRAWS = 15  # data sets with copies
CLEAN_TRAIN, CLEAN_TEST = 600, 300


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
        parts = list(executor.map(_rows, ("photographs", "digits", "shapes"), [clean] * 3))
    return [row for part in parts for row in part]


def _rows(data: str, clean: int) -> list[dict[str, Any]]:
    images, names = images_of(data)
    originals = copies.hashed(images)
    return [*_planted(data, images, originals), *_natural(data, names, originals), *_clean(data, originals, clean)]


def _planted(data: str, images: list[Pixels], originals: copies.Hashed) -> Iterator[dict[str, Any]]:
    """Recall by kind and strength, `COPIED` of each in one data set at a time."""
    kinds = [(kind, strength, make) for kind, of in copies.KINDS.items() for strength, make in of.items()]
    hits = np.zeros(len(kinds), np.int64)
    num_train = len(images) * 2 // 3
    for turn in range(DRAWS):
        rng = np.random.default_rng([16, turn])
        order = rng.permutation(len(images))
        train, test = order[:num_train], order[num_train:]
        of = rng.choice(train, COPIED * len(kinds), replace=COPIED * len(kinds) > num_train)
        made = [kinds[i // COPIED][2](images[at], rng) for i, at in enumerate(of.tolist())]
        found = copies.search(originals, train, test, copies.hashed(made), of, mirrored=True)
        hits += found.planted.reshape(len(kinds), COPIED).sum(axis=1)
    for (kind, strength, _), x in zip(kinds, hits.tolist(), strict=True):
        yield _row(data, f"near duplicates across splits: {kind}", strength, x, DRAWS * COPIED, False)
    plain = [i for i, (kind, _, _) in enumerate(kinds) if kind != "mirror"]
    yield _row(
        data,
        "near duplicates across splits: all but mirrored",
        "all",
        hits[plain].sum(),
        DRAWS * COPIED * len(plain),
        False,
    )


def _natural(data: str, names: list[str], originals: copies.Hashed) -> Iterator[dict[str, Any]]:
    """Every image as it is: the pairs that are found, by name, to be looked at."""
    pairs = near_pairs(originals.hashes, originals.thumbnails)
    listed = [[names[a], names[b]] for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)]
    row = _row(data, "none: images as they are, any pair", "", len(listed), len(names), True)
    yield {**row, "pairs": listed[:200]}


def _clean(data: str, originals: copies.Hashed, clean: int) -> Iterator[dict[str, Any]]:
    """Data sets without a planted copy: a pair across the splits is a false alarm, but where the data has copies."""
    if data == "photographs":
        return  # the pairs of the line above are in every draw that holds both
    x = 0
    for turn in range(clean):
        rng = np.random.default_rng([17, turn])
        order = rng.choice(len(originals), CLEAN_TRAIN + CLEAN_TEST, replace=False)
        pairs = near_pairs(originals.hashes[order], originals.thumbnails[order])
        x += bool(((pairs.first < CLEAN_TRAIN) & (pairs.second >= CLEAN_TRAIN)).any())
    yield _row(data, "none: a pair across the splits of a data set", "", x, clean, True)


def _row(data: str, fault: str, strength: str, x: int, n: int, clean: bool) -> dict[str, Any]:
    return {"chapter": "duplicates", "fault": fault, "data": data, "strength": strength, **rate(int(x), int(n), clean)}
