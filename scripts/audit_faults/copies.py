"""Copies of images as they come about: cropped, stored again, made larger or smaller, brightened, mirrored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evensight.data.similar import hash_and_thumbnail, near_pairs

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]
Make = Callable[[Pixels, np.random.Generator], Pixels]


def crop(share: float) -> Make:
    """Cuts this share of width and of height away, more or less of it on either side."""

    def make(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = pixels.shape[:2]
        down, right = max(1, round(share * height)), max(1, round(share * width))
        top, left = rng.integers(0, down + 1), rng.integers(0, right + 1)
        return pixels[top : top + height - down, left : left + width - right]

    return make


def encode(quality: int) -> Make:
    """Stores as JPEG and reads again."""

    def make(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        _, content = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)

    return make


def resize(factor: float) -> Make:
    """Makes it larger or smaller."""

    def make(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=method), np.uint8)

    return make


def brighten(factor: float) -> Make:
    """Multiplies all grey levels; what goes beyond white is cut off."""

    def make(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        return np.rint(np.minimum(pixels * factor, 255)).astype(np.uint8)

    return make


def mirror(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Turns left and right."""
    return pixels[:, ::-1]


# Kind -> its strengths.
KINDS: Mapping[str, Mapping[str, Make]] = {
    "crop": {f"{share:.0%}": crop(share) for share in (0.02, 0.05, 0.10)},
    "re-encode": {f"quality {quality}": encode(quality) for quality in (30, 50, 70, 90)},
    "resize": {f"x {factor}": resize(factor) for factor in (0.5, 0.75, 1.5, 2.0)},
    "brightness": {f"x {factor}": brighten(factor) for factor in (0.8, 0.9, 1.1, 1.2)},
    "mirror": {"left to right": mirror},
}


@dataclass(frozen=True)
class Hashed:
    """What the search for duplicates sees of images."""

    hashes: NDArray[np.uint64]
    thumbnails: Pixels

    def __len__(self) -> int:
        return len(self.hashes)


def hashed(images: Sequence[Pixels]) -> Hashed:
    """Hashes images `[H, W, 3]`."""
    pairs = [hash_and_thumbnail(np.ascontiguousarray(image)) for image in images]
    return Hashed(np.stack([one for one, _ in pairs]), np.stack([small for _, small in pairs]))


@dataclass(frozen=True)
class Found:
    """Pairs across splits in one data set with planted copies.

    Attributes:
        planted: bool `[C]`, whether each copy was found beside its original.
        others: Pairs across splits that were not planted, `[M, 2]`.
    """

    planted: NDArray[np.bool_]
    others: Ints


def search(originals: Hashed, train: Ints, test: Ints, copies: Hashed, of: Ints, mirrored: bool = False) -> Found:
    """Looks for pairs across the splits.

    Args:
        originals: The images.
        train: Which of them are training images.
        test: Which of them are test images.
        copies: Further test images.
        of: Which of `originals` each copy is of; in `train`.
        mirrored: Also looks for mirror images.
    """
    rows = np.concatenate([train, test])
    hashes = np.concatenate([originals.hashes[rows], copies.hashes])
    thumbnails = np.concatenate([originals.thumbnails[rows], copies.thumbnails])
    pairs = near_pairs(hashes, thumbnails, mirrored=mirrored)
    across = (pairs.first < len(train)) & (pairs.second >= len(train))
    first, second = pairs.first[across], pairs.second[across]
    is_copy = second >= len(rows)
    own = np.zeros(len(second), np.bool_)
    own[is_copy] = rows[first[is_copy]] == of[second[is_copy] - len(rows)]
    planted = np.zeros(len(copies), np.bool_)
    planted[second[own] - len(rows)] = True
    # A pair with a copy of an image's own duplicate is the fault of the data, not of the search: told by the originals.
    others = np.stack([first[~is_copy], second[~is_copy]], axis=1)
    strange = is_copy & ~own
    beside = np.stack([first[strange], second[strange]], axis=1)
    return Found(planted, np.concatenate([others, beside]))
