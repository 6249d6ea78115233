"""Draws coloured figures with their masks, crops photographs, and lays the one over the other.

A figure is a shape of `shapes_draw` or a handwritten digit, in a colour of the even palette, with a dark or a light
outline, so that it stands out from any photograph in grey too. Figures and their placing follow from keys and exactly
rounded arithmetic, as in `shapes_draw`; a photograph's pixels are those Pillow makes of its file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evensight.data.datasets import draws, shapes_outlines
from evensight.data.datasets import shapes_draw as drawing

SIZE = drawing.SIZE
Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]

# Side of the square that a digit of 28 x 28 is drawn in, pixels, by size.
SIDES = ((28.0, 35.0), (35.0, 42.0), (42.0, 49.0))
TILT = 0.04  # turns, most that a digit leans to either side
OUTLINES = (22.0, 238.0)  # grey levels of a dark and a light outline
LEAST_CROP = 0.6  # smallest side of a crop, of the photograph's shorter side
_KEPT_SIDE = 128  # a photograph's shorter side is at least this after it is reduced, or as it was
_GLYPH = 28
_MARGIN = 2  # empty pixels around a digit, so that its outline fits


@dataclass(frozen=True)
class Figures:
    """N figures on black: what is added to the part of a photograph that they leave free.

    Attributes:
        light: uint8 `[N, 64, 64, 3]`, the figure's colour times how far it covers the pixel.
        cover: uint8 `[N, 64, 64]`, how far the figure covers each pixel, 0 to 255.
    """

    light: Pixels
    cover: Pixels


def shapes(key: NDArray[np.uint64], shape: Ints, colour: Ints, size: Ints) -> Figures:
    """Draws shapes; `key` `[N]` places them, the others are indices into SHAPES, COLOURS and SIZES of `shapes_draw`."""
    nothing = np.zeros(len(key), np.int64)
    scenes = drawing.plan(key, shape, colour, nothing, size, "even")
    bare = replace(
        scenes,
        outline_width=(1.2 + 0.05 * scenes.radius.astype(np.float64)).astype(np.float32),
        ground=np.zeros_like(scenes.ground),
        texture=np.concatenate([np.zeros_like(scenes.texture[:, :1]), scenes.texture[:, 1:]], axis=1),
        noise=np.zeros_like(scenes.noise),
    )
    return Figures(*drawing.draw(bare))


def digits(key: NDArray[np.uint64], glyph: Pixels, colour: Ints, size: Ints) -> Figures:
    """Draws handwritten digits.

    Args:
        key: One key an image `[N]`.
        glyph: How far the stroke covers each pixel `[N, 28, 28]`.
        colour: Index into COLOURS of `shapes_draw` `[N]`.
        size: Index into SIZES of `shapes_draw` `[N]`.
    """
    u = draws.uniform(draws.words(key, 6))
    low, high = np.asarray(SIDES)[size].T
    row, column = _inverse(u, low + u[:, 0] * (high - low))
    padded = np.pad(glyph, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    stroke = _looked_up(padded, row, column)
    cover = _looked_up(_widened(padded), row, column)
    fill, _ = drawing.fills(u[:, 4], colour, "even")
    outline = np.where(u[:, 5] < 0.5, *OUTLINES)[:, None, None]
    light = (stroke[..., None] * fill[:, None, None] + ((cover - stroke) * outline)[..., None]) / 255.0
    return Figures(np.rint(light).astype(np.uint8), np.rint(cover).astype(np.uint8))


def _inverse(u: NDArray[np.float64], side: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns where in the padded digit each pixel looks, rows and columns `[N, 64, 64]`."""
    tilt = (2.0 * u[:, 1] - 1.0) * TILT
    cosine, sine = shapes_outlines.turns(tilt % 1.0)
    reach = side * (cosine + np.abs(sine)) / 2.0 + 1.0  # half of the tilted square
    centre = reach[:, None] + u[:, 2:4] * (SIZE - 2.0 * reach)[:, None] - 0.5
    at = np.arange(SIZE, dtype=np.float64)
    down = (at - centre[:, 0, None])[:, :, None]
    right = (at - centre[:, 1, None])[:, None, :]
    scale = (_GLYPH / side)[:, None, None]
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    middle = (_GLYPH - 1) / 2.0 + _MARGIN
    return (cosine * down - sine * right) * scale + middle, (sine * down + cosine * right) * scale + middle


def _widened(glyph: Pixels) -> Pixels:
    """Returns each pixel's largest neighbour in 3 x 3, `[N, H, W]`."""
    wide = glyph.copy()
    for axis in (1, 2):
        before = wide.copy()
        for shift in (-1, 1):
            np.maximum(wide, np.roll(before, shift, axis=axis), out=wide)  # the margin is empty, so nothing wraps
    return wide


def _looked_up(glyph: Pixels, row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the values between pixels by bilinear interpolation, 0 outside, `[N, 64, 64]`."""
    last = glyph.shape[1] - 1
    row, column = np.clip(row, 0.0, last - 1e-6), np.clip(column, 0.0, last - 1e-6)
    top, left = row.astype(np.int64), column.astype(np.int64)
    down, right = row - top, column - left
    number = np.arange(len(glyph))[:, None, None]
    value = glyph.astype(np.float64)
    upper = value[number, top, left] * (1.0 - right) + value[number, top, left + 1] * right
    lower = value[number, top + 1, left] * (1.0 - right) + value[number, top + 1, left + 1] * right
    between: NDArray[np.float64] = upper * (1.0 - down) + lower * down
    return between


def reduced(photograph: Pixels) -> Image.Image:
    """Returns a photograph `[H, W, 3]` by a whole factor smaller, so that cropping it often is cheap."""
    image = Image.fromarray(photograph)
    factor = min(image.size) // _KEPT_SIDE
    return image.reduce(factor) if factor > 1 else image


def crops(photograph: Image.Image, key: NDArray[np.uint64], mirror: bool) -> Pixels:
    """Cuts squares out of one photograph, one a key.

    Args:
        photograph: As `reduced` returns it.
        key: One key a crop `[N]`; says side, place and whether the crop is mirrored.
        mirror: Whether half of the crops are mirrored left to right.

    Returns:
        uint8 `[N, 64, 64, 3]`.
    """
    u = draws.uniform(draws.words(key, 4, first=24))
    width, height = photograph.size
    found = np.empty((len(key), SIZE, SIZE, 3), np.uint8)
    for number, (extent, x, y, turned) in enumerate(u.tolist()):
        side = min(width, height) * (LEAST_CROP + (1.0 - LEAST_CROP) * extent)
        left, top = x * (width - side), y * (height - side)
        cut = photograph.resize((SIZE, SIZE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        pixels = np.asarray(cut)
        found[number] = pixels[:, ::-1] if mirror and turned < 0.5 else pixels
    return found


def laid_over(figures: Figures, ground: Pixels) -> Pixels:
    """Returns the figures over photographs `[N, 64, 64, 3]`."""
    bare = (255 - figures.cover.astype(np.uint32))[..., None]
    through = (ground.astype(np.uint32) * bare + 127) // 255
    pixels: Pixels = np.minimum(through + figures.light, 255).astype(np.uint8)
    return pixels


def boxes(cover: Pixels) -> NDArray[np.float64]:
    """Returns the smallest box around each figure, ``x0, y0, x1, y1`` in pixels, the far sides not in it, `[N, 4]`."""
    found = []
    for axis in (1, 2):  # columns, then rows
        any_there: NDArray[np.bool_] = np.any(cover > 0, axis=axis)
        found.append((any_there.argmax(axis=1), SIZE - any_there[:, ::-1].argmax(axis=1)))
    (x0, x1), (y0, y1) = found
    return np.stack([x0, y0, x1, y1], axis=1).astype(np.float64)
