"""Files that a reader makes of annotated images: objects cut out, and masks. One that is there is not made again."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.data.annotations.boxes import Box, upright_mask, widened
from evensight.data.annotations.objects import Mask
from evensight.data.places import Stamp
from evensight.data.reading import Progress
from evensight.files import canonical_json, replaced
from evensight.runtime.files import DecodeError, read_file

OBJECTS, OBJECT_MASKS, IMAGE_MASKS = "objects", "object_masks", "image_masks"
_OURS = re.compile(r"[0-9a-f]{40}\.png")


@dataclass(frozen=True)
class Cut:
    """One object to be cut out of its image, all in pixels of the decoded image."""

    path: str
    stamp: Stamp
    box: Box  # within the image
    margin: float
    size: tuple[int, int]  # width and height of the image
    mask: Mask | None = None
    turned: int = 1  # EXIF's orientation where the mask is of the stored frame, else 1

    @property
    def pixels(self) -> tuple[int, int, int, int]:
        """What is cut out: x0, y0, x1, y1."""
        return widened(self.box, self.margin, *self.size)

    @property
    def name(self) -> str:
        """Of its file: the digest of what it is made of."""
        return f"{key_of(self.path, *self.stamp, *self.box, self.margin)}.png"

    @property
    def mask_name(self) -> str | None:
        """Of its mask's file."""
        key = key_of(self.name, self.mask.key, self.turned) if self.mask else None
        return f"{key}.png" if key else None

    @property
    def inner(self) -> Box:
        """The object's box in what is cut out."""
        x0, y0, _, _ = self.pixels
        return self.box[0] - x0, self.box[1] - y0, self.box[2] - x0, self.box[3] - y0


def key_of(*parts: Any) -> str:
    """Returns the name of a made file: 40 characters of the SHA-256 of what it is made of."""
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()[:40]


def cut_out(
    cuts: Sequence[Cut], root: Path, folder: Path, max_pixels: int, progress: Progress
) -> tuple[dict[str, str], dict[str, str]]:
    """Cuts objects out of their images, each image decoded once, and writes them and their masks as PNG.

    Files go to ``folder/objects`` and ``folder/object_masks``; those that are there already stay, those that no cut
    asks for are removed.

    Args:
        cuts: What to cut.
        root: Folder of the images; the paths have been checked to lie inside.
        folder: The recipe's.
        max_pixels: Larger images are refused from their header.
        progress: Told of the images done.

    Returns:
        Path of an image that could not be decoded -> why; name of an object whose mask is broken -> why.
    """
    todo: dict[str, list[Cut]] = {}
    there = _names(folder / OBJECTS)
    masks_there = _names(folder / OBJECT_MASKS)
    for cut in dict.fromkeys(cuts):
        if cut.name not in there or (cut.mask_name and cut.mask_name not in masks_there):
            todo.setdefault(cut.path, []).append(cut)
    errors: dict[str, str] = {}
    broken: dict[str, str] = {}

    def one(path: str) -> tuple[str | None, dict[str, str]]:
        return _cut_one(root / path, todo[path], folder, max_pixels)

    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for number, (path, (error, masks)) in enumerate(zip(todo, pool.map(one, todo), strict=True), start=1):
            if error is not None:
                errors[path] = error
            broken |= masks
            progress("cutting objects out", number, len(todo))
    remove_others(folder / OBJECTS, {cut.name for cut in cuts})
    remove_others(folder / OBJECT_MASKS, {cut.mask_name for cut in cuts if cut.mask_name})
    return errors, broken


def _cut_one(path: Path, cuts: Sequence[Cut], folder: Path, max_pixels: int) -> tuple[str | None, dict[str, str]]:
    # Imported here: it brings torch, which a data set that is already cut does not need.
    from evensight.runtime.decode import decode_array

    try:
        image = decode_array(read_file(path, max_pixels), max_pixels=max_pixels)
    except DecodeError as error:
        return f"{error.code}: {error}", {}
    broken: dict[str, str] = {}
    for cut in cuts:
        if (image.shape[1], image.shape[0]) != cut.size:
            return "changed: its size is not the one its header said", {}
        x0, y0, x1, y1 = cut.pixels
        _write_png(folder / OBJECTS / cut.name, image[y0:y1, x0:x1])
        if cut.mask:
            try:
                mask = drawn(cut.mask, cut.size, cut.turned)
            except ValueError as error:
                broken[cut.name] = str(error)
            else:
                write_mask(folder / OBJECT_MASKS, str(cut.mask_name), mask[y0:y1, x0:x1])
    return None, broken


def drawn(mask: Mask, size: tuple[int, int], turned: int) -> NDArray[np.uint8]:
    """Draws a mask and turns it upright.

    Args:
        mask: What to draw.
        size: Width and height of the decoded image.
        turned: EXIF's orientation where the mask is of the stored frame, else 1.

    Returns:
        uint8 `[H, W]`, 0 or 255.

    Raises:
        ValueError: It cannot be drawn, or is of another size than the image.
    """
    array = upright_mask(mask.draw(), turned)
    if array.shape != (size[1], size[0]):
        raise ValueError(f"the mask is {list(array.shape)} and its image {[size[1], size[0]]}")
    return np.where(array != 0, np.uint8(255), np.uint8(0))


def write_mask(folder: Path, name: str, mask: NDArray[np.uint8]) -> str:
    """Writes a mask, uint8 `[H, W]`, as ``folder/name`` (a PNG), whole or not at all, and returns `name`."""
    _write_png(folder / name, mask)
    return name


def write_masks(
    wanted: Mapping[str, Callable[[], NDArray[np.uint8]]], folder: Path, progress: Progress
) -> dict[str, str]:
    """Writes the masks of whole images to ``folder/image_masks`` and removes those nobody asks for.

    Args:
        wanted: File name (`key_of` and ``.png``) -> draws the mask.
        folder: The recipe's.
        progress: Told of the masks done.

    Returns:
        Name -> why its mask could not be drawn.
    """
    there = _names(folder / IMAGE_MASKS)
    new = [name for name in wanted if name not in there]

    def one(name: str) -> str | None:
        try:
            write_mask(folder / IMAGE_MASKS, name, wanted[name]())
        except ValueError as error:
            return str(error)
        return None

    broken: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for number, (name, error) in enumerate(zip(new, pool.map(one, new), strict=True), start=1):
            if error is not None:
                broken[name] = error
            progress("drawing masks", number, len(new))
    remove_others(folder / IMAGE_MASKS, wanted)
    return broken


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    # Level 1: half the time of the default for a tenth more bytes; lossless at every level. The pass that decodes them
    # next tells a file that a power cut tore.
    with replaced(path, sync=False) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG", compress_level=1)


def _names(folder: Path) -> set[str]:
    try:
        return {name for name in os.listdir(folder) if _OURS.fullmatch(name)}  # noqa: PTH208 (names are all we need)
    except FileNotFoundError:
        return set()


def remove_others(folder: Path, wanted: Iterable[str]) -> None:
    """Removes files of ours that no annotation asks for any more."""
    for name in _names(folder) - set(wanted):
        (folder / name).unlink(missing_ok=True)
