"""Boxes: from the coordinates an annotation tool used to those of the decoded image, and no further than its edge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evensight.data.annotations.headers import Header

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels; 0, 0 is the upper left corner of the first pixel

FRAMES = ("stored", "upright")


def upright_box(box: Box, width: float, height: float, orientation: int) -> Box:
    """Turns a box of the stored rows and columns into one of the image that EXIF's orientation makes of them.

    Args:
        box: In pixels of the stored image.
        width: Of the stored image.
        height: Of the stored image.
        orientation: 1 to 8 (EXIF 2.32, table of tag Orientation); any other is taken as 1, as in `runtime.decode`.
    """
    x0, y0, x1, y1 = box
    if orientation in (2, 3):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4):
        y0, y1 = height - y1, height - y0
    if orientation in (7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (6, 7):
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation in (5, 6, 7, 8) else (x0, y0, x1, y1)


def upright_mask(mask: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns the array `[H, W]` of a stored image as `upright_box` turns its boxes."""
    if orientation in (2, 3):
        mask = mask[:, ::-1]
    if orientation in (3, 4):
        mask = mask[::-1]
    if orientation in (7, 8):
        mask = mask[:, ::-1]
    if orientation in (6, 7):
        mask = mask[::-1]
    return np.ascontiguousarray(mask.T if orientation in (5, 6, 7, 8) else mask)


def frame_of(stated: tuple[int, int] | None, header: Header, setting: str) -> str | None:
    """Returns in which frame an image's boxes are: ``stored``, ``upright``, or None where they fit neither.

    A stated size that fits only one of the two decides; else `setting` does.

    Args:
        stated: Width and height as the annotation file says them, or None.
        header: Of the image's file.
        setting: The reader's ``box_frame``.
    """
    if stated is None:
        return setting
    sizes = {"stored": (header.width, header.height), "upright": header.upright}
    fitting = [frame for frame, size in sizes.items() if size == stated]
    return setting if len(fitting) == 2 else fitting[0] if fitting else None


def clipped(box: Box, width: float, height: float) -> Box | None:
    """Returns the part of a box that lies in the image, or None where there is none or it is not finite."""
    if not all(map(math.isfinite, box)):
        return None
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def widened(box: Box, margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns the whole pixels of a box with a margin, within the image.

    Args:
        box: Within the image.
        margin: Share of the box's longer side that is added on each of its four sides.
        width: Of the image.
        height: Of the image.
    """
    x0, y0, x1, y1 = box
    added = margin * max(x1 - x0, y1 - y0)
    return (
        max(math.floor(x0 - added), 0),
        max(math.floor(y0 - added), 0),
        min(math.ceil(x1 + added), width),
        min(math.ceil(y1 + added), height),
    )


def hull(boxes: list[Box]) -> Box:
    """Returns the smallest box that holds all of `boxes`."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def area(box: Box) -> float:
    """Returns a box's area in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
