"""The decoded images of a split, by position, kept in memory where they all fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from evensight.data.digests import pixel_digest
from evensight.data.places import Stamp
from evensight.data.sources import file_of, read_path
from evensight.runtime.decode import DecodeError, decode_array
from evensight.runtime.preprocess import Preprocess, resize

Pixels = NDArray[np.uint8]  # [H, W, 3], or [H, W, 4] with the mask last


class Originals:
    """Decodes rows of a manifest.

    Safe to share between threads: at worst two of them decode the same image.

    Args:
        rows: Columns ``path``, ``width``, ``height``, where `masks` ``mask``, and ``pixel_sha256`` and those of
            `places.Stamp` where a file that was changed since is to be told.
        root: Folder of the paths.
        preprocess: To the network's size.
        keep_squares: Whether `square` is what will be asked for, so that squares are kept and not originals.
        cache_mb: What may be kept, MiB; nothing is, unless all fits.
        max_pixels: Larger images are refused.
        masks: Whether masks are wanted: 0 to 255, how far the object covers each pixel; 0 everywhere where unknown.
        mask_root: Folder of the masks' paths; None: `root`.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        root: Path,
        preprocess: Preprocess,
        keep_squares: bool,
        cache_mb: int,
        max_pixels: int,
        masks: bool = False,
        mask_root: Path | None = None,
    ) -> None:
        self.root = root
        self.mask_root = mask_root or root
        self.paths: list[str] = rows["path"].to_list()
        self._files = [f"{root}/{file_of(path)}" for path in self.paths]
        known = {"pixel_sha256", *Stamp._fields} <= set(rows.columns)
        self._digests: list[str | None] = rows["pixel_sha256"].to_list() if known else []
        self._stamps = [Stamp(*row) for row in rows.select(Stamp._fields).iter_rows()] if known else []
        self.masks: list[str | None] | None = rows["mask"].to_list() if masks else None
        self.max_pixels = max_pixels
        self.preprocess = preprocess
        self.keep_squares = keep_squares
        pixels = len(rows) * preprocess.size**2 if keep_squares else int((rows["width"] * rows["height"]).sum() or 0)
        self.kept = pixels * (4 if masks else 3) <= cache_mb * 2**20
        self._kept: list[Pixels | None] = [None] * len(rows)

    def original(self, position: int) -> Pixels:
        """Returns the image of a row as it was stored; not to be written to.

        Raises:
            DecodeError, OSError, UserError: The image, or its mask, cannot be read, or is not the one prepared.
        """
        if self.keep_squares:
            return self._decode(position)
        return self._remembered(position, self._decode)

    def square(self, position: int) -> Pixels:
        """Returns the image of a row at the network's size, `[S, S, C]`; else as `original`."""
        if not self.keep_squares:
            return self._square(position)
        return self._remembered(position, self._square)

    def _remembered(self, position: int, make: Callable[[int], Pixels]) -> Pixels:
        found = self._kept[position]
        if found is None:
            found = make(position)
            if self.kept:
                self._kept[position] = found
        return found

    def _square(self, position: int) -> Pixels:
        return to_square(self.original(position), self.preprocess)

    def _decode(self, position: int) -> Pixels:
        pixels = _read(self.root, self.paths[position], self.max_pixels)
        if self._stamps:
            self._check_unchanged(position, pixels)
        if self.masks is None:
            return pixels
        return np.dstack([pixels, self._mask(self.masks[position], pixels.shape[:2])])

    def _check_unchanged(self, position: int, pixels: Pixels) -> None:
        """Raises DecodeError where a file has another stamp than it had, and other pixels (2 us where it has not)."""
        if Stamp.of(os.stat(self._files[position])) == self._stamps[position]:  # noqa: PTH116 (an image)
            return
        if pixel_digest(pixels) != self._digests[position]:
            raise DecodeError("changed", "holds other pixels than when the data was prepared")

    def _mask(self, path: str | None, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        if path is None:
            return np.zeros(shape, np.uint8)
        mask = _read(self.mask_root, path, self.max_pixels)[..., 0]
        if mask.shape != shape:
            raise DecodeError("corrupt", f"its mask {path} is {list(mask.shape)} and the image {list(shape)}")
        # Masks of zeros and ones are as common as masks of 0 and 255.
        return mask * np.uint8(255) if mask.max(initial=0) == 1 else mask


def to_square(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    """Returns what `preprocess` makes of `[H, W, C]` as contiguous `[S, S, C]`."""
    size = preprocess.size
    if pixels.shape[:2] == (size, size) and preprocess.parts == 10_000:
        return pixels  # the resize gives the same bytes: tests/runtime/test_runtime_preprocess.py
    return _to_hwc(preprocess(_to_chw(pixels)))


def to_crop(pixels: Pixels, top: int, left: int, height: int, width: int, size: int) -> Pixels:
    """Returns a box of `[H, W, C]` resized to `[size, size, C]`."""
    return _to_hwc(resize(_to_chw(pixels[top : top + height, left : left + width])[None], size)[0])


def _read(root: Path, path: str, max_pixels: int) -> Pixels:
    source = read_path(root, path)
    return decode_array(source, max_pixels) if isinstance(source, bytes) else source


def _to_chw(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _to_hwc(image: torch.Tensor) -> Pixels:
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0))
