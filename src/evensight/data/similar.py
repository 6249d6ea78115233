"""Near duplicates: the same picture cropped, stretched, brightened, made smaller or stored again.

`hash_and_thumbnail` says of each image what is compared, `near_pairs` which are copies, `clusters` what belongs
together. How alike two images must be is set against the data itself: digits are all alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evensight.data import similar_align, similar_candidates

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

SIDE = 32  # pixels of a thumbnail
WORDS = 8  # of a hash: 64 low frequencies as signed bytes
_BASIS = 8  # frequencies each way
_BLANK = 2.0  # standard deviation (grey levels) below which an image shows nothing
_MANY = 200  # images of a cluster that chains of pairs may make


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
    small: NDArray[np.uint8] = cv2.resize(luma, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small


def _cosines() -> Floats:
    angle = np.pi / SIDE * (np.arange(SIDE) + 0.5)[None, :] * np.arange(_BASIS)[:, None]
    return (np.cos(angle) * np.sqrt(2 / SIDE)).astype(np.float32)


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
    thumbnails: NDArray[np.uint8],
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
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(shows, min(len(shows), similar_candidates._SAMPLE), replace=False))
    projection, reach = _space(thumbnails[sample], rng)
    points = _decoded(hashes[shows]) @ projection
    done = (lambda at, of: progress("near duplicates", at, of)) if progress else (lambda at, of: None)
    found = [_verified(shows[similar_candidates.candidates(points, points, reach, rng, done)], thumbnails, False)]
    if mirrored:
        flipped = _decoded(hashes[shows], mirrored=True) @ projection
        found.append(
            _verified(shows[similar_candidates.candidates(points, flipped, reach, rng, done)], thumbnails, True)
        )
    return _joined(found)


def _space(sample: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Floats, float]:
    cut = rng.uniform(0.0, 0.10, (len(sample), 4)).astype(np.float32)
    across, _ = similar_align.sampling(cut[:, 0], 1 - cut[:, 1], SIDE)
    down, _ = similar_align.sampling(cut[:, 2], 1 - cut[:, 3], SIDE)
    crops = down @ sample.astype(np.float32) @ across.transpose(0, 2, 1)
    return similar_candidates.discriminants(_decoded(hashes_of(sample)), _decoded(hashes_of(crops)))


def _decoded(hashes: NDArray[np.uint64], mirrored: bool = False) -> Floats:
    waves = np.ascontiguousarray(hashes).view(np.int8).reshape(len(hashes), _BASIS * _BASIS).astype(np.float32) / 127
    if mirrored:
        waves.reshape(-1, _BASIS, _BASIS)[:, :, 1::2] *= -1
    return waves


def _verified(pairs: Ints, thumbnails: NDArray[np.uint8], mirrored: bool) -> Pairs:
    ordered = np.unique(np.sort(pairs, axis=1), axis=0)
    one, other = thumbnails[ordered[:, 0]], thumbnails[ordered[:, 1]]
    fit = similar_align.align(one, other[:, :, ::-1] if mirrored else other)
    same = (fit.whole < 0.03) & (fit.worst < 0.3)
    similarity = np.sqrt(np.clip(1 - fit.whole[same], 0, 1)).astype(np.float32)
    return Pairs(ordered[same, 0], ordered[same, 1], similarity, np.full(int(same.sum()), mirrored))


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
