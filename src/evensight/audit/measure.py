"""What is measured of each image, once: properties, perceptual hash, thumbnail, and what every cue says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight import names
from evensight.audit.data import Scores
from evensight.audit.properties import COLUMNS, image_properties
from evensight.cues import Cue, build_cue
from evensight.cues.regions import box_mask
from evensight.data.dataset import box_in
from evensight.data.originals import to_square
from evensight.data.similar import hash_and_thumbnail
from evensight.runtime.preprocess import Preprocess

# Cues are described at this side, whatever the network's: what a cue says hardly depends on it, and describing is dear.
SIZE = 64
VERSION = 2  # of what is measured; raised with any figure, so that kept scores are not taken for new ones

Pixels = NDArray[np.uint8]  # [H, W, 3], or [H, W, 4] with the mask last


@dataclass(frozen=True)
class Seen:
    """One decoded image as the measurement takes it.

    Attributes:
        source: Bytes of its file, or the array row itself.
        pixels: uint8 `[H, W, 3]`, or `[H, W, 4]` with a mask last.
        path: For the name's ending.
        box: float32 `[4]`, x0, y0, x1, y1 in pixels of the original; None where unknown.
    """

    source: bytes | Pixels
    pixels: Pixels
    path: str
    box: NDArray[np.float64] | None = None


def known_cues(known: Iterable[str], wanted: Sequence[str] = ()) -> list[Cue]:
    """Returns the cues whose needs are met, in the order of the table.

    Args:
        known: Names of `extra` that come with the images; ``size`` always does.
        wanted: Names; empty takes all. `surround` stands in for `background`, so it is left out beside it unless named.

    Raises:
        UserError: A name is not in the table.
    """
    there = {"size", *known}
    if "box" in there:
        there.add("mask")  # what lies in the box
    cues = [build_cue(name, "audit.cues") for name in (wanted or names.CUES)]
    cues = [cue for cue in cues if set(cue.needs) <= there]
    if not wanted and any(cue.name == "background" for cue in cues):
        cues = [cue for cue in cues if cue.name != "surround"]
    return cues


def measured_batch(
    batch: Sequence[Seen | None], cues: Sequence[Cue], known: Iterable[str], size: int = SIZE
) -> dict[str, Any]:
    """Measures some images.

    Args:
        batch: The images; None for one that cannot be decoded, whose figures are then 0 and whose properties null.
        cues: What to describe.
        known: Names of `extra` that the cues can count on.
        size: Side of the square that is described.

    Returns:
        ``properties`` (a list of mappings), ``hashes`` `[B, W]`, ``thumbnails`` `[B, T, T]`, ``measured`` `[B]`, and
        ``cue:<name>`` float32 `[B, F]` for each cue.
    """
    empty = dict.fromkeys(COLUMNS)
    blank_hash, blank_thumbnail = hash_and_thumbnail(np.zeros((8, 8, 3), np.uint8))
    properties, hashes, thumbnails = [], [], []
    for seen in batch:
        if seen is None:
            properties.append(empty)
            hashes.append(np.zeros_like(blank_hash))
            thumbnails.append(np.zeros_like(blank_thumbnail))
            continue
        colours = np.ascontiguousarray(seen.pixels[..., :3])
        properties.append(image_properties(seen.source, colours, seen.path))
        hashed, thumbnail = hash_and_thumbnail(colours)
        hashes.append(hashed)
        thumbnails.append(thumbnail)
    squares, boxes, sizes = squared(batch, size)
    extra = extras(squares, boxes, sizes, known)
    image = torch.from_numpy(squares[..., :3]).permute(0, 3, 1, 2).contiguous()
    measured = np.array([seen is not None for seen in batch], np.bool_)
    with torch.inference_mode():
        told = {f"cue:{cue.name}": _described(cue, image, extra) * measured[:, None] for cue in cues}
    return {
        "properties": properties,
        "hashes": np.stack(hashes) if hashes else np.zeros((0, len(blank_hash)), np.uint64),
        "thumbnails": np.stack(thumbnails) if thumbnails else np.zeros((0, *blank_thumbnail.shape), np.uint8),
        "measured": measured,
        **told,
    }


def measure_images(
    images: Sequence[bytes | Pixels],
    masks: Sequence[Pixels] | None = None,
    boxes: NDArray[np.float64] | None = None,
    cues: Sequence[str] = (),
    paths: Sequence[str] | None = None,
    batch_size: int = 256,
) -> Scores:
    """Measures images in memory: pools from which many data sets are drawn.

    Args:
        images: Bytes of files, or uint8 `[H, W, 3]` each.
        masks: uint8 `[H, W]` each, 0 to 255.
        boxes: `[N, 4]`, pixels of the original.
        cues: Names; empty takes all whose needs are met.
        paths: Of the files, for their endings.
        batch_size: Images described at once.
    """
    from evensight.runtime.decode import DecodeError, decode_array

    known = [name for name, value in (("mask", masks), ("box", boxes)) if value is not None]
    described = known_cues(known, cues)
    parts = []
    for start in range(0, len(images), batch_size):
        batch: list[Seen | None] = []
        for i in range(start, min(start + batch_size, len(images))):
            source = images[i]
            try:
                pixels = decode_array(source) if isinstance(source, bytes) else source
            except DecodeError:
                batch.append(None)
                continue
            if masks is not None:
                pixels = np.dstack([pixels, masks[i]])
            path = paths[i] if paths is not None else ""
            batch.append(Seen(source, pixels, path, boxes[i] if boxes is not None else None))
        parts.append(measured_batch(batch, described, known))
    return joined(parts, described)


def joined(parts: Sequence[Mapping[str, Any]], cues: Sequence[Cue]) -> Scores:
    """Returns the scores of batches in their order."""
    if not parts:
        parts = [measured_batch([], cues, ("mask", "box"))]
    properties = [row for part in parts for row in part["properties"]]
    return Scores(
        properties=pl.DataFrame(properties, schema=dict(COLUMNS), orient="row"),
        hashes=np.concatenate([part["hashes"] for part in parts]),
        thumbnails=np.concatenate([part["thumbnails"] for part in parts]),
        features={cue.name: np.concatenate([part[f"cue:{cue.name}"] for part in parts]) for cue in cues},
        measured=np.concatenate([part["measured"] for part in parts]),
    )


def _described(cue: Cue, image: Tensor, extra: Mapping[str, Tensor], part: int = 64) -> NDArray[np.float32]:
    """Describes 64 images at once: their planes stay in the processor's cache, which halves the time of 256."""
    parts = [
        cue.describe(image[start : start + part], {name: x[start : start + part] for name, x in extra.items()})
        for start in range(0, max(len(image), 1), part)
    ]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _square(pixels: Pixels, preprocess: Preprocess) -> Pixels:
    """The centre square; a larger one by area averages, which take a third of the time of the network's resize."""
    height, width = pixels.shape[:2]
    side = preprocess.side(height, width)
    if side <= preprocess.size:
        return to_square(pixels, preprocess)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (preprocess.size, preprocess.size), interpolation=cv2.INTER_AREA), np.uint8)


def squared(batch: Sequence[Seen | None], size: int) -> tuple[Pixels, NDArray[np.float32], NDArray[np.int64]]:
    """Returns centre squares `[B, S, S, 4]` (mask last, 0 where unknown), boxes in them, and sizes of the originals."""
    preprocess = Preprocess(size, 1.0)
    squares = np.zeros((len(batch), size, size, 4), np.uint8)
    boxes, sizes = np.zeros((len(batch), 4), np.float32), np.zeros((len(batch), 2), np.int64)
    for i, seen in enumerate(batch):
        if seen is None:
            continue
        height, width = seen.pixels.shape[:2]
        squares[i, ..., : seen.pixels.shape[2]] = _square(seen.pixels, preprocess)
        sizes[i] = height, width
        if seen.box is not None:
            side = preprocess.side(height, width)
            window = ((width - side) // 2, (height - side) // 2, side, side)
            boxes[i] = box_in(np.asarray(seen.box, np.float64), window, size)
    return squares, boxes, sizes


def extras(
    squares: Pixels, boxes: NDArray[np.float32], sizes: NDArray[np.int64], known: Iterable[str]
) -> dict[str, Tensor]:
    """Returns what cues need beside pixels, of what comes with the images: ``size``, and of `known` mask and box."""
    there = set(known)
    extra = {"size": torch.from_numpy(sizes)}
    if "mask" in there:
        extra["mask"] = torch.from_numpy(np.ascontiguousarray(squares[..., 3]))[:, None]
    if "box" in there:
        extra["box"] = torch.from_numpy(boxes)
        if "mask" not in there:
            extra["mask"] = box_mask(extra["box"], squares.shape[1])
    return extra
