"""Near duplicates: the same picture cropped, stretched, brightened, made smaller or stored again.

`hash_and_thumbnail` says of each image what is compared, `near_pairs` which are copies, `clusters` what belongs
together. How alike two images must be is set against the data itself: digits are all alike.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evensight.data import similar_align, similar_candidates, similar_chance

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

SIDE = 32  # pixels of a thumbnail
WORDS = 8  # of a hash: 64 low frequencies as signed bytes
_BASIS = 8  # frequencies each way
_BLANK = 2.0  # standard deviation (grey levels) below which an image shows nothing
CUTS = (0.0, 0.04, 0.08)  # shares cut off each side of an image before others are compared with it
_VIEWS = 2000  # crops at least that the space is fitted on: it has 64 directions
_MOST_PAIRS = 500_000  # that are looked at, the nearest first
_CHUNK = 50_000  # images placed at once
# Pairs read at once: each of their thumbnails may bring 64 kB of a mapped file into memory.
_READ = 1024  # thumbnails at once: each that is read of a mapped file brings 64 KB of its neighbours into memory
# The difference of a pair is the root of what is left over as a whole, times at its worst spot. Copies of photographs
# (JPEG of quality 30, gamma .7 to 1.4, cut by 10 %) stay below the furthest; two frames of a burst, above.
_FURTHEST_STRAIGHT, _FURTHEST_MOVED = 0.03, 0.02
_NEAREST = 0.0003  # below it a pair is a copy in any data set
_LOOKED_AT = 0.1  # differences above it were not all looked at
_MOST_WHOLE, _MOST_WORST = 0.012, 0.055  # never more is left over: two figures on one photograph leave .06 and more
_MANY = 200  # images of a cluster that chains of pairs may make


class Thumbnails(Protocol):
    """What `near_pairs` reads: an array `[N, 32, 32]`, or whatever gives rows of one when it is indexed."""

    def __getitem__(self, positions: Ints, /) -> NDArray[np.uint8]:
        """Returns the thumbnails at these positions, uint8 `[M, 32, 32]`."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of near duplicates, first < second, sorted; fields `[M]`.

    Attributes:
        first: Positions.
        second: Positions.
        similarity: Correlation of the two once laid over each other, 0 to 1.
        mirrored: Whether one is the other's mirror image.
    """

    first: Ints
    second: Ints
    similarity: Floats
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)


def hash_and_thumbnail(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Returns the perceptual hash uint64 `[8]` and the thumbnail uint8 `[32, 32]` of pixels uint8 `[H, W, 3]`."""
    small = thumbnail(pixels)
    return hashes_of(small[None])[0], small


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Returns the perceptual hash of pixels uint8 `[H, W, 3]`; see `hashes_of`."""
    return hash_and_thumbnail(pixels)[0]


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the luma of the whole frame squeezed to a square, by area averages, uint8 `[32, 32]`."""
    import cv2

    luma = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    # Halving is what OpenCV does fast: 100 us for a photograph of 500 x 400 instead of 500.
    while min(luma.shape) >= 4 * SIDE:
        even = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
        luma = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    height, width = luma.shape
    if height > SIDE or width > SIDE:
        luma = cv2.resize(luma, (min(width, SIDE), min(height, SIDE)), interpolation=cv2.INTER_AREA)
    if height < SIDE or width < SIDE:  # area averages would enlarge by steps
        luma = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(luma, np.uint8)


def _cosines(cut: float = 0.0) -> Floats:
    """The lowest cosines `[8, 32]` at 32 points of a side less a share cut off both ends."""
    places = cut + (1 - 2 * cut) * (np.arange(SIDE) + 0.5) / SIDE
    waves = np.cos(np.pi * np.outer(np.arange(_BASIS), places)) * np.sqrt(2 / SIDE)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, np.float32)


_COSINES = _cosines()


def hashes_of(thumbnails: NDArray[np.uint8] | Floats) -> NDArray[np.uint64]:
    """Returns the hash of thumbnails `[N, 32, 32]`: uint64 `[N, 8]`, a word a row of 8 frequencies as signed bytes.

    The 8 x 8 lowest frequencies of the cosine transform less the mean, divided by their norm, square roots with their
    sign: brightness and contrast are gone. All 0 where the image shows nothing.
    """
    small = thumbnails.astype(np.float32)
    waves = _COSINES @ small @ _COSINES.T
    waves[:, 0, 0] = 0
    waves = waves.reshape(len(waves), _BASIS * _BASIS)
    norm = np.sqrt((waves**2).sum(axis=1, keepdims=True))
    shows = small.reshape(len(small), -1).std(axis=1) >= _BLANK
    share = waves / np.maximum(norm, 1e-6) * shows[:, None]
    signed = np.rint(127 * np.sign(share) * np.sqrt(np.abs(share))).astype(np.int8)
    return np.ascontiguousarray(signed).view(np.uint64)


def near_pairs(
    hashes: NDArray[np.uint64],
    thumbnails: Thumbnails,
    *,
    seed: int = 0,
    mirrored: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Pairs:
    """Finds near duplicates.

    Args:
        hashes: `[N, 8]`, of `hash_and_thumbnail`; an image of hash 0 is in no pair.
        thumbnails: `[N, 32, 32]`; may be mapped from a file: few are read.
        seed: Of the samples that are drawn.
        mirrored: Also look for mirror images.
        progress: Called as progress(what, done, total).
    """
    shows = np.flatnonzero(hashes.any(axis=1))
    if len(shows) < 2:
        return _no_pairs()
    views = (False, True) if mirrored else (False,)
    return _joined([_search(hashes, thumbnails, shows, view, seed, progress or _silent) for view in views])


def _silent(what: str, done: int, total: int) -> None:
    """Says nothing."""


def _search(
    hashes: NDArray[np.uint64],
    thumbnails: Thumbnails,
    shows: Ints,
    mirrored: bool,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> Pairs:
    pairs, cuts = _candidates(hashes[shows], thumbnails, shows, mirrored, seed, progress)
    fits = []
    for begin in range(0, len(pairs), _READ):
        one, other = thumbnails[pairs[begin : begin + _READ, 0]], thumbnails[pairs[begin : begin + _READ, 1]]
        one = one[:, :, ::-1] if mirrored else one
        fits.append(similar_align.align(one, other, cuts[begin : begin + _READ]))
        let_go(thumbnails)
        progress("near duplicates: pairs", min(begin + _READ, len(pairs)), len(pairs))
    return _judged(pairs, similar_align.joined(fits), len(hashes), mirrored)


def read_rows(thumbnails: Thumbnails, rows: Ints) -> NDArray[np.uint8]:
    """Returns thumbnails by position, few at a time where they are mapped from a file."""
    parts = []
    for begin in range(0, len(rows), _READ):
        parts.append(np.array(thumbnails[rows[begin : begin + _READ]]))
        let_go(thumbnails)
    return np.concatenate(parts) if parts else np.zeros((0, SIDE, SIDE), np.uint8)


def let_go(array: object) -> None:
    """Frees what was read of an array that is mapped from a file: pages read by chance add up to the whole file."""
    if (
        isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED")
    ):  # c: pages differ from the file
        mapped = getattr(array, "_mmap", None)
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def _judged(pairs: Ints, fit: similar_align.Alignment, num: int, mirrored: bool) -> Pairs:
    """Keeps the pairs that are more alike than different images of this data set are by chance."""
    # As they lie, and one cut out of the other: the second has more freedom, and so its own chance.
    straight, moved = (np.sqrt(w * f) for w, f in ((fit.straight, fit.straight_worst), (fit.moved, fit.moved_worst)))
    lie = straight < _pair_limit(pairs, straight, num, _FURTHEST_STRAIGHT)
    cut = (moved < _pair_limit(pairs, moved, num, _FURTHEST_MOVED)) & similar_align.contained(fit.window)
    same = (lie & _even(fit.straight, fit.straight_worst)) | (cut & _even(fit.moved, fit.moved_worst))
    chosen = np.sort(pairs[same], axis=1)
    similarity = np.sqrt(np.clip(1 - np.minimum(fit.straight, fit.moved)[same], 0, 1))
    return Pairs(chosen[:, 0], chosen[:, 1], similarity.astype(np.float32), np.full(len(chosen), mirrored))


def _even(whole: Floats, worst: Floats) -> NDArray[np.bool_]:
    return (whole < _MOST_WHOLE) & (worst < _MOST_WORST)


def _pair_limit(pairs: Ints, difference: Floats, num: int, high: float) -> NDArray[np.float64]:
    limit = similar_chance.limits(pairs, difference, num, _NEAREST, high, _LOOKED_AT)
    return np.minimum(limit[pairs[:, 0]], limit[pairs[:, 1]])


def _candidates(
    hashes: NDArray[np.uint64],
    thumbnails: Thumbnails,
    shows: Ints,
    mirrored: bool,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> tuple[Ints, Floats]:
    """Returns pairs worth a look, (the larger cut, the smaller) `[M, 2]`, and the cut to begin with `[M]`."""
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(len(shows), min(len(shows), similar_candidates.SAMPLE), replace=False))
    projection, reach = _space(read_rows(thumbnails, shows[sample]), rng)
    points = _placed(hashes, projection)
    found, distances, cuts = [], [], []
    for number, share in enumerate(CUTS):
        say = functools.partial(progress, f"near duplicates: look {number + 1} of {len(CUTS)}")
        queries = _placed(hashes, projection, share, mirrored)
        pairs, distance = similar_candidates.candidates(points, queries, reach, np.random.default_rng(seed), say)
        found.append(pairs)
        distances.append(distance)
        cuts.append(np.full(len(pairs), share, np.float32))
    pairs, cut = _nearest_once(np.concatenate(found), np.concatenate(distances), np.concatenate(cuts), len(shows))
    return shows[pairs], cut


def _placed(hashes: NDArray[np.uint64], projection: Floats, cut: float = 0.0, mirrored: bool = False) -> Floats:
    """Returns where images lie in the space `[N, D]`: a part at a time, as what is in between is far larger."""
    parts = [slice(begin, begin + _CHUNK) for begin in range(0, len(hashes), _CHUNK)]
    return np.concatenate([decoded(hashes[part], cut, mirrored) @ projection for part in parts])


def _nearest_once(pairs: Ints, distances: Floats, cuts: Floats, num: int) -> tuple[Ints, Floats]:
    """Keeps each pair once, where it was nearest, and of very many the nearest."""
    key = pairs.min(axis=1) * num + pairs.max(axis=1)
    order = np.lexsort((distances, key))
    first = np.ones(len(order), np.bool_)
    first[1:] = key[order][1:] != key[order][:-1]
    kept = order[first]
    if len(kept) > _MOST_PAIRS:
        kept = np.sort(kept[np.argsort(distances[kept], kind="stable")[:_MOST_PAIRS]])
    return pairs[kept], cuts[kept]


def _space(sample: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Floats, float]:
    """Fits the space on crops of the sample: one cut by 5 % on each side, one by 0 to 10 %; several of few images."""
    sample = np.tile(sample, (-(-_VIEWS // len(sample)), 1, 1))
    cut = rng.uniform(0.0, 0.1, (len(sample), 4)).astype(np.float32)
    views = []
    for share in (np.full_like(cut, 0.05), cut):
        window = np.array(similar_align.STRAIGHT, np.float32) + share * np.array([1, -1, 1, -1], np.float32)
        views.append(decoded(hashes_of(similar_align.cropped(sample, window))))
    return similar_candidates.discriminants(views[0], views[1])


def decoded(hashes: NDArray[np.uint64], cut: float = 0.0, mirrored: bool = False) -> Floats:
    """Returns the frequencies that hashes `[N, 8]` store, float32 `[N, 64]`, square roots with their sign.

    Args:
        hashes: Of `hashes_of`.
        cut: Share cut off each side first: what a crop's frequencies are follows from the image's.
        mirrored: Whether left and right are exchanged.
    """
    waves = np.ascontiguousarray(hashes).view(np.int8).reshape(-1, _BASIS, _BASIS).astype(np.float32) / 127
    if cut:
        within = _COSINES @ _cosines(cut).T
        waves = within @ (np.sign(waves) * waves**2) @ within.T
        waves[:, 0, 0] = 0
        norm = np.sqrt((waves**2).sum(axis=(1, 2), keepdims=True))
        waves /= np.maximum(norm, 1e-6)
        waves = np.sign(waves) * np.sqrt(np.abs(waves))
    if mirrored:
        waves[:, :, 1::2] *= -1
    return waves.reshape(len(hashes), _BASIS * _BASIS)


def _joined(parts: list[Pairs]) -> Pairs:
    first, second, similarity, mirrored = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("first", "second", "similarity", "mirrored")
    )
    order = np.lexsort((mirrored, second, first))
    return Pairs(first[order], second[order], similarity[order], mirrored[order])


def _no_pairs() -> Pairs:
    none = np.zeros(0, np.int64)
    return Pairs(none, none, np.zeros(0, np.float32), np.zeros(0, np.bool_))


def clusters(num: int, pairs: Pairs) -> Ints:
    """Returns the cluster of each image, int64 `[num]`: the smallest position of an image it is linked to.

    Links chain: a crop of a crop belongs to the first. Where a chain makes more than 200 images one, each image stays
    with the one it has a pair with that has most pairs, so that a drift through alike images is no cluster.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(pairs) == 0:
        return np.arange(num, dtype=np.int64)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs.first, pairs.second)), shape=(num, num)).tocsr()
    _, component = connected_components(graph, directed=False)
    smallest = np.full(int(component.max()) + 1, num, np.int64)
    np.minimum.at(smallest, component, np.arange(num))
    cluster: Ints = smallest[component]
    sizes = np.bincount(cluster, minlength=num)
    for root in np.flatnonzero(sizes > _MANY):
        _stars(cluster, np.flatnonzero(cluster == root), pairs)
    return cluster


def _stars(cluster: Ints, members: Ints, pairs: Pairs) -> None:
    chosen = np.isin(pairs.first, members)
    ends = np.concatenate([pairs.first[chosen], pairs.second[chosen]])
    others = np.concatenate([pairs.second[chosen], pairs.first[chosen]])
    order = np.argsort(ends, kind="stable")
    ends, others = ends[order], others[order]
    bounds = np.searchsorted(ends, members), np.searchsorted(ends, members, side="right")
    linked = {int(m): others[a:b] for m, a, b in zip(members, *bounds, strict=True)}
    free = dict.fromkeys(members.tolist())
    for hub in sorted(linked, key=lambda m: (-len(linked[m]), m)):
        if hub in free:
            star = [hub, *(int(m) for m in linked[hub] if int(m) in free and int(m) != hub)]
            cluster[star] = min(star)
            for member in dict.fromkeys(star):
                free.pop(member, None)
