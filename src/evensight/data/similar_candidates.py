"""Which images could be copies of each other: few enough pairs to look at, found without comparing all with all.

Hashes are brought to a space in which a crop moves an image by about 1 (linear discriminants of the data's own images
and of crops of them), the space is divided into cells around centres, and an image is compared within the nearest
cells (an inverted file: Sivic and Zisserman 2003; Jegou et al. 2011). Time grows as N to the power of 1.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

SAMPLE = 4000  # images that the space is fitted on
_CELL = 1000  # images of a cell, about
_LARGEST = 4000  # images of a cell at most
_PROBES = 3  # cells that an image is looked for in
_NEIGHBOURS = 8  # candidates of a query in a cell at most
_DIMENSIONS = 24  # of the space
_BLOCK = 512  # queries at once


def discriminants(first: Floats, second: Floats) -> tuple[Floats, float]:
    """Fits the space in which two views of an image lie near each other, and how near.

    Args:
        first: Descriptors of a sample of images, `[S, F]`.
        second: Of other crops of the same images, `[S, F]`.

    Returns:
        The projection `[F, 24]`, and the squared distance that 99 % of the views stay within.
    """
    moved = (second - first).astype(np.float64)
    within = moved.T @ moved / len(moved)
    within += np.eye(len(within)) * max(np.trace(within) / len(within), 1e-6) * 0.05
    spread = np.cov(first.astype(np.float64), rowvar=False) if len(first) > 1 else np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    _, directions = np.linalg.eigh(whiten.T @ spread @ whiten)
    projection = (whiten @ directions[:, ::-1][:, :_DIMENSIONS]).astype(np.float32)
    distance = ((moved @ projection) ** 2).sum(axis=1)
    return projection, float(np.quantile(distance, 0.99))


def candidates(
    points: Floats, queries: Floats, reach: float, rng: np.random.Generator, done: Callable[[int, int], None]
) -> tuple[Ints, Floats]:
    """Returns pairs (query, point) nearer than `reach` (squared) `[M, 2]`, a few a query, and their distances `[M]`.

    Args:
        points: `[N, D]`.
        queries: `[N, D]`, each of the same image as its point, perhaps cropped or mirrored.
        reach: Largest squared distance.
        rng: Draws the first centres.
        done: Called with cells done and cells in all.
    """
    cells = _cells(points, queries, rng)
    pairs, distances = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for number, (members, asking) in enumerate(cells):
        for begin in range(0, len(asking), _BLOCK):
            found, distance = _within(points, queries, members, asking[begin : begin + _BLOCK], reach)
            pairs.append(found)
            distances.append(distance)
        done(number + 1, len(cells))
    return np.concatenate(pairs), np.concatenate(distances)


def _within(points: Floats, queries: Floats, members: Ints, asking: Ints, reach: float) -> tuple[Ints, Floats]:
    own = queries[asking]
    lengths = (own**2).sum(axis=1)
    squares = _distances(own, points[members])
    rows, columns = np.divmod(np.flatnonzero(squares < (reach - lengths)[:, None]), max(len(members), 1))
    distances = squares[rows, columns] + lengths[rows]
    others = asking[rows] != members[columns]
    rows, columns, distances = rows[others], columns[others], distances[others]
    order = np.lexsort((distances, rows))
    rows, columns, distances = rows[order], columns[order], distances[order]
    first = np.searchsorted(rows, np.arange(len(asking)))
    near = np.arange(len(rows)) - first[rows] < _NEIGHBOURS
    return np.stack([asking[rows[near]], members[columns[near]]], axis=1), distances[near]


def _distances(queries: Floats, points: Floats) -> Floats:
    """Squared distances less the queries' own lengths, in one product: no second pass over a large table."""
    squares = (points**2).sum(axis=1, keepdims=True)
    ones = np.ones((len(queries), 1), queries.dtype)
    return np.asarray(np.hstack([queries, ones]) @ np.hstack([-2 * points, squares]).T)


def _cells(points: Floats, queries: Floats, rng: np.random.Generator) -> list[tuple[Ints, Ints]]:
    """Returns for each cell the points in it and the queries that look there."""
    count = len(points)
    everything = np.arange(count)
    num_cells = count // _CELL
    if num_cells < 2:
        return [(everything, everything)]
    centres = _centres(points, num_cells, rng)
    homes = _nearest(points, centres, 1)[:, 0]
    probes = _nearest(queries, centres, min(_PROBES, num_cells))
    cells = []
    members_of, asking_of = _grouped(homes, num_cells), _grouped(probes.ravel(), num_cells)
    for members, asking in zip(members_of, asking_of, strict=True):
        asking = asking // probes.shape[1]
        parts = -(-len(members) // _LARGEST)
        if parts <= 1:
            cells.append((members, asking))
            continue
        # A crowded cell is cut along its longest direction, so that time stays within bounds.
        axis = int(points[members].var(axis=0).argmax())
        edges = np.quantile(points[members, axis], np.linspace(0, 1, parts + 1)[1:-1])
        where, looked = np.searchsorted(edges, points[members, axis]), np.searchsorted(edges, queries[asking, axis])
        cells += [(members[where == part], asking[looked == part]) for part in range(parts)]
    return cells


def _grouped(keys: Ints, num_keys: int) -> list[Ints]:
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.searchsorted(keys[order], np.arange(1, num_keys)))


def _centres(points: Floats, number: int, rng: np.random.Generator) -> Floats:
    sample = points[np.sort(rng.choice(len(points), min(len(points), 30 * number), replace=False))]
    centres = sample[np.sort(rng.choice(len(sample), number, replace=False))]
    for _ in range(4):
        home = _nearest(sample, centres, 1)[:, 0]
        sizes = np.bincount(home, minlength=number)
        sums = np.zeros_like(centres)
        np.add.at(sums, home, sample)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres).astype(np.float32)
    return centres


def _nearest(points: Floats, centres: Floats, number: int) -> Ints:
    nearest = np.empty((len(points), number), np.int64)
    for begin in range(0, len(points), _BLOCK):
        distance = _distances(points[begin : begin + _BLOCK], centres)
        rows = np.arange(len(distance))
        for place in range(number):
            chosen = distance.argmin(axis=1)
            nearest[begin : begin + _BLOCK, place] = chosen
            distance[rows, chosen] = np.inf
    return nearest
