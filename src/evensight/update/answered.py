"""The images that were answered: their files, and which of each other and of the test images they nearly equal."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.data import similar
from evensight.data.digests import pixel_digest
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.progress import Progress
from evensight.runtime.decode import DecodeError, decode_array
from evensight.runtime.files import read_file
from evensight.update.answers import Answers
from evensight.update.plan import Plan
from evensight.update.tasks import Asked


@dataclass(frozen=True)
class Image:
    """An answered image that can be decoded.

    Attributes:
        asked: What the plan says of it.
        content: Its file.
        pixels: Digest of its pixels.
        hash: Of `similar.hash_and_thumbnail`.
        thumbnail: Likewise.
    """

    asked: Asked
    content: bytes
    pixels: str
    hash: NDArray[np.uint64]
    thumbnail: NDArray[np.uint8]


def answered_images(plan: Plan, said: Answers) -> tuple[list[Image], list[str]]:
    """Returns the answered images, and sentences on those that cannot be decoded, which are left out.

    Raises:
        UserError: None of them can be decoded.
    """
    images: list[Image] = []
    broken: list[str] = []
    for asked in plan.asked:
        if asked.id not in said.labels:
            continue
        try:
            content = read_file(plan.images_in / asked.path)
            pixels = decode_array(content)
        except DecodeError as error:
            broken.append(f"{asked.path} ({error})")
            continue
        images.append(Image(asked, content, pixel_digest(pixels), *similar.hash_and_thumbnail(pixels)))
    more = f", and {len(broken) - 3:,} more" if len(broken) > 3 else ""
    notes = [f"images that cannot be decoded and are left out: {', '.join(broken[:3])}{more}"] if broken else []
    if not images:
        raise UserError(f"answers: {notes[0] if notes else 'no image was asked for'}; nothing is left to be added.")
    return images, notes


def near(images: Sequence[Image], manifest: Manifest, progress: Progress) -> tuple[list[int], list[str | None]]:
    """Returns the cluster of each image among the additions, and an old test image that each nearly equals."""
    test = manifest.split("test").filter(pl.col("error").is_null())
    small = _thumbnails(manifest, test, progress)
    theirs = similar.hashes_of(small) if len(small) else np.zeros((0, similar.WORDS), np.uint64)
    hashes = np.concatenate([np.stack([one.hash for one in images]), theirs])
    thumbnails = np.concatenate([np.stack([one.thumbnail for one in images]), small])
    pairs = similar.near_pairs(hashes, thumbnails)
    count = len(images)
    inside = pairs.second < count
    own = similar.Pairs(*(getattr(pairs, name)[inside] for name in ("first", "second", "similarity", "mirrored")))
    near: list[str | None] = [None] * count
    for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        if first < count <= second:
            near[first] = test["path"][second - count]
    return similar.clusters(count, own).tolist(), near


def _thumbnails(manifest: Manifest, rows: pl.DataFrame, progress: Progress) -> NDArray[np.uint8]:
    """Returns the thumbnails of rows `[N, 32, 32]`; one that broke since it was prepared shows nothing."""

    def one(row: dict[str, Any]) -> NDArray[np.uint8]:
        try:
            source = manifest.read(row)
            return similar.thumbnail(decode_array(source) if isinstance(source, bytes) else source)
        except (DecodeError, OSError, UserError):
            return np.zeros((similar.SIDE, similar.SIDE), np.uint8)

    found = []
    with ThreadPoolExecutor() as pool:
        for small in pool.map(one, rows.iter_rows(named=True)):
            found.append(small)
            progress("reading test images", len(found), rows.height)
    return np.stack(found) if found else np.zeros((0, similar.SIDE, similar.SIDE), np.uint8)
