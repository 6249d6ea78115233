"""Draws images of one coloured shape on a nearly grey, textured background, the same to the pixel on any machine.

`plan` draws what is on the images (scenes), `draw` makes pixels of it. Both are pure functions of (seed, split, index).
Only +, -, *, /, comparisons and rounding touch the pixels: IEEE 754 rounds them exactly, so the machine, the NumPy
build and the batch cannot change a value. Sines come from a polynomial of our own; only integers are summed.

A shape is a table of signed distances, made once; an image looks it up through its rotation and shear. So every shape
costs the same, and its outline and its antialiased edge are bands of the distance.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evensight.data.datasets import draws, shapes_outlines

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

SIZE = 64  # pixels, both ways
SHAPES = shapes_outlines.SHAPES
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
BACKGROUNDS = ("noise", "stripes", "checks")
NEW_BACKGROUNDS = ("dots",)  # of traffic alone: no data set has them
SIZES = ("small", "medium", "large")
PALETTES = ("even", "vivid")
VERSION = 1  # of the drawing; a change of any pixel raises it

RADII = ((10.0, 14.5), (14.5, 19.0), (19.0, 24.0))  # pixels, of the circle around the shape, by size
SHEAR = 0.2
LUMA = (100, 145)  # of the shape in the even palette, whatever its colour
BACKGROUND_LUMA = (30, 225)
CONTRAST = 40  # least difference of luma between the shape and the mean of its background
LIGHT = 0.1  # relative gain on the lit side of the shape
_HEADROOM = 10  # grey levels kept free at both ends for the noise, so that clipping does not tell colours apart

# Rec. 601, as in Pillow's "L" and in the colour cue.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
# One vivid example of each colour: the even palette takes its hue, the vivid one its brightness too.
_VIVID = (
    (225, 28, 32),
    (248, 138, 14),
    (246, 224, 34),
    (36, 168, 58),
    (32, 204, 218),
    (30, 72, 222),
    (132, 44, 190),
    (250, 120, 186),
)
# Hues of the even palette: pink and purple further apart than above, since brightness does not help to tell them.
_HUES = (
    (255, 0, 0),
    (255, 122, 0),
    (255, 225, 0),
    (0, 220, 30),
    (0, 225, 235),
    (0, 60, 255),
    (125, 0, 255),
    (255, 0, 150),
)


@dataclass(frozen=True)
class Scenes:
    """What is on N images; every field [N] unless said."""

    key: NDArray[np.uint64]  # of the image, for its textures and noise
    shape: NDArray[np.int64]  # index into SHAPES
    colour: NDArray[np.int64]  # index into COLOURS
    background: NDArray[np.int64]  # index into BACKGROUNDS, then NEW_BACKGROUNDS
    size: NDArray[np.int64]  # index into SIZES
    fill: Floats  # RGB of the shape, [N, 3]
    inverse: Floats  # from pixels to the shape's own coordinates, [N, 2, 3]
    radius: Floats  # pixels
    outline_width: Floats  # pixels, 0 where there is none
    outline_luma: Floats
    light: Floats  # gain per pixel to the right and down, and its offset, [N, 3]
    ground: Floats  # mean RGB of the background, [N, 3]
    texture: NDArray[
        np.float32
    ]  # amplitude, then the wave: turns per pixel right and down, phase, its normal's phase, [N, 5]
    noise: Floats  # standard deviation, grey levels


def luma(rgb: Doubles) -> Doubles:
    """Returns the Rec. 601 luma of [..., 3], summed in a fixed order."""
    red, green, blue = LUMA_WEIGHTS
    total: Doubles = rgb[..., 0] * red + rgb[..., 1] * green + rgb[..., 2] * blue
    return total


def plan(
    key: NDArray[np.uint64],
    shape: NDArray[np.int64],
    colour: NDArray[np.int64],
    background: NDArray[np.int64],
    size: NDArray[np.int64],
    palette: str,
) -> Scenes:
    """Draws the scenes of N images whose attributes are given.

    The draws of an image depend on its key alone, so in the even palette colour changes `fill` and nothing else.

    Args:
        key: One key an image [N].
        shape: Index into SHAPES [N].
        colour: Index into COLOURS [N].
        background: Index into BACKGROUNDS, then NEW_BACKGROUNDS [N].
        size: Index into SIZES [N].
        palette: One of PALETTES; "vivid" also keeps the background away from the luma of `colour`.
    """
    u = _uniforms(key)
    low, high = np.asarray(RADII)[size].T
    radius = low + u[:, 0] * (high - low)
    inverse, lit = _placement(u[:, 1:6], radius)
    fill, fill_luma = fills(u[:, 6], colour, palette)
    outlined = u[:, 7] < 0.5
    dark = u[:, 8] < 0.5
    turn = shapes_outlines.turns(u[:, 15])
    period = 7.0 + 9.0 * u[:, 16]
    texture = np.stack([8.0 + 14.0 * u[:, 14], turn[0] / period, turn[1] / period, u[:, 17], u[:, 18]], axis=1)
    return Scenes(
        key=key,
        shape=shape,
        colour=colour,
        background=background,
        size=size,
        fill=fill.astype(np.float32),
        inverse=inverse.astype(np.float32),
        radius=radius.astype(np.float32),
        outline_width=np.where(outlined, 1.2 + 0.05 * radius, 0.0).astype(np.float32),
        outline_luma=np.where(dark, 22.0, 238.0).astype(np.float32),
        light=lit.astype(np.float32),
        ground=_ground(u[:, 9:13], fill_luma).astype(np.float32),
        texture=texture.astype(np.float32),
        noise=(2.0 + 4.0 * u[:, 13]).astype(np.float32),
    )


def recolour(scenes: Scenes, colour: NDArray[np.int64], palette: str) -> Scenes:
    """Returns the same scenes with shapes of another colour, all else (background, light, noise) kept.

    In the vivid palette the background may so come closer than CONTRAST to the new colour's luma.
    """
    fill, _ = fills(_uniforms(scenes.key)[:, 6], colour, palette)
    return replace(scenes, colour=colour, fill=fill.astype(np.float32))


def fills(brightness: Doubles, colour: NDArray[np.int64], palette: str) -> tuple[Doubles, Doubles]:
    """Returns the RGB [N, 3] and the luma [N] of a colour.

    In the even palette the luma follows from `brightness` alone; the hue is as saturated as fits between black and
    white at that luma with room for light and noise. In the vivid one `brightness` scales the natural colour.

    Args:
        brightness: In [0, 1), [N].
        colour: Index into COLOURS [N].
        palette: One of PALETTES.
    """
    if palette == "vivid":
        rgb = np.asarray(_VIVID, np.float64)[colour] * (0.78 + 0.2 * brightness)[:, None]
        return rgb, luma(rgb)
    level = LUMA[0] + (LUMA[1] - LUMA[0]) * brightness
    hue = np.asarray(_HUES, np.float64)
    direction = (hue - luma(hue)[:, None])[colour]  # no luma of its own
    top = (255.0 - _HEADROOM) / (1.0 + LIGHT)
    up = (top - level) / direction.max(axis=1)
    down = (level - _HEADROOM / (1.0 - LIGHT)) / -direction.min(axis=1)
    return level[:, None] + np.minimum(up, down)[:, None] * direction, level


def draw(scenes: Scenes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Makes the pixels of N scenes.

    Returns:
        Images [N, 64, 64, 3] and how far the shape covers each pixel (0 to 255) [N, 64, 64].
    """
    distance = _distance(scenes)
    cover = np.clip(0.5 - distance, 0.0, 1.0)
    inner = np.clip(0.5 - distance - scenes.outline_width[:, None, None], 0.0, 1.0)
    # Everything that is grey, once: background texture and outline; then the tint of the background and the fill.
    grey = _texture(scenes) * (1.0 - cover) + scenes.outline_luma[:, None, None] * (cover - inner) + _noise(scenes)
    lit = _plane(scenes.light) * inner
    bare = 1.0 - cover
    image = np.empty((len(scenes.key), SIZE, SIZE, 3), np.uint8)
    for channel in range(3):
        value = grey + scenes.ground[:, channel, None, None] * bare + scenes.fill[:, channel, None, None] * lit
        image[..., channel] = np.rint(np.clip(value, 0.0, 255.0))
    return image, np.rint(cover * np.float32(255.0)).astype(np.uint8)


def _uniforms(key: NDArray[np.uint64]) -> Doubles:
    """Returns the numbers in [0, 1) that place everything on an image, [N, 20]."""
    return draws.uniform(draws.words(key, 20))


def _placement(u: Doubles, radius: Doubles) -> tuple[Doubles, Doubles]:
    """Returns the map from pixels to the shape's own coordinates [N, 2, 3] and the light's plane [N, 3]."""
    cosine, sine = shapes_outlines.turns(u[:, 0])
    shear = (2.0 * u[:, 1] - 1.0) * SHEAR
    # Forward: rotate, then shear to the right; its determinant is 1, so the area is kept.
    a, b, c, d = cosine + shear * sine, shear * cosine - sine, sine, cosine
    margin = 1.5
    reach_x = radius * np.sqrt(a * a + b * b) + margin
    reach_y = radius * np.sqrt(c * c + d * d) + margin
    x = reach_x + u[:, 2] * (SIZE - 2.0 * reach_x) - 0.5
    y = reach_y + u[:, 3] * (SIZE - 2.0 * reach_y) - 0.5
    rows = np.stack([np.stack([d, -b], axis=1), np.stack([-c, a], axis=1)], axis=1) / radius[:, None, None]
    offset = -(rows[:, :, 0] * x[:, None] + rows[:, :, 1] * y[:, None])
    toward = shapes_outlines.turns(u[:, 4])
    right, down = LIGHT * toward[0] / radius, LIGHT * toward[1] / radius
    lit = np.stack([right, down, 1.0 - right * x - down * y], axis=1)
    return np.concatenate([rows, offset[:, :, None]], axis=2), lit


def _ground(u: Doubles, fill_luma: Doubles) -> Doubles:
    """Returns the mean RGB of the background [N, 3]: a luma uniform over all that are far enough, and a faint tint."""
    below = np.maximum(fill_luma - CONTRAST - BACKGROUND_LUMA[0], 0.0)
    above = np.maximum(BACKGROUND_LUMA[1] - fill_luma - CONTRAST, 0.0)
    at = u[:, 0] * (below + above)
    level = np.where(at < below, BACKGROUND_LUMA[0] + at, fill_luma + CONTRAST + (at - below))
    tint = (u[:, 1:4] - 0.5) * 14.0
    ground: Doubles = level[:, None] + tint - luma(tint)[:, None]
    return ground


def _plane(coefficients: Floats) -> Floats:
    """Returns right * x + down * y + offset for every pixel, [N, 64, 64]."""
    at = np.arange(SIZE, dtype=np.float32)
    right = coefficients[:, 0, None] * at + coefficients[:, 2, None]
    down = coefficients[:, 1, None] * at
    return right[:, None, :] + down[:, :, None]


def _distance(scenes: Scenes) -> Floats:
    """Returns each pixel's signed distance to the shape's edge in pixels, negative inside, [N, 64, 64]."""
    table, scale, side = _tables()
    # In steps of the table; beyond it the distance only has to be large enough to cover nothing.
    places = []
    for axis in range(2):
        place = _plane(scenes.inverse[:, axis] * scale)
        place += np.float32((side - 1) / 2)
        places.append(np.clip(place, 0.0, np.float32(side) - np.float32(1.001), out=place))
    u, v = places
    column, row = u.astype(np.int32), v.astype(np.int32)
    u -= column
    v -= row
    at = (scenes.shape.astype(np.int32)[:, None, None] * side + row) * side + column
    upper: Floats = table[at]
    upper += (table[at + 1] - upper) * u
    at += side
    lower = table[at]
    lower += (table[at + 1] - lower) * u
    upper += (lower - upper) * v
    upper *= scenes.radius[:, None, None]
    return upper


@functools.cache
def _tables() -> tuple[Floats, np.float32, int]:
    """Returns the shapes' distance tables, flat, the steps in a radius, and the side of one table."""
    side, reach = 257, 1.25
    table = np.stack([shapes_outlines.distances(name, side, reach) for name in SHAPES])
    return table.astype(np.float32).ravel(), np.float32((side - 1) / (2 * reach)), side


def _texture(scenes: Scenes) -> Floats:
    """Returns the background's texture around 0, [N, 64, 64]: smooth noise, stripes, checks or dots."""
    texture = np.empty((len(scenes.key), SIZE, SIZE), np.float32)
    for kind, name in enumerate((*BACKGROUNDS, *NEW_BACKGROUNDS)):
        chosen = scenes.background == kind
        if not chosen.any():
            continue
        wave = scenes.texture[chosen, 1:]
        if name == "noise":
            drawn = _smooth(scenes.key[chosen])
        elif name == "stripes":
            drawn = _triangle(_plane(wave[:, [0, 1, 2]]))
        else:
            across = wave[:, [1, 0, 3]]
            across[:, 0] *= -1.0
            first, second = _plane(wave[:, [0, 1, 2]]), _plane(across)
            drawn = _square(first) * _square(second) if name == "checks" else _dots(first, second)
        texture[chosen] = drawn * scenes.texture[chosen, 0][:, None, None]
    return texture


def _triangle(turns: Floats) -> Floats:
    """Returns the triangle wave, -1 to 1, of period 1."""
    wave: Floats = np.abs(turns - np.floor(turns) - np.float32(0.5)) * np.float32(4.0) - np.float32(1.0)
    return wave


def _square(turns: Floats) -> Floats:
    """Returns the square wave of period 1 with slanted edges."""
    wave: Floats = np.clip(_triangle(turns * np.float32(0.5)) * np.float32(5.0), -1.0, 1.0)
    return wave


def _dots(first: Floats, second: Floats) -> Floats:
    """Returns light dots, 1 on -1, where the crests of two waves of period 1 meet."""
    height = _triangle(first) + _triangle(second)
    dots: Floats = np.clip(height * np.float32(4.0) - np.float32(2.0), -1.0, 1.0)
    return dots


def _smooth(key: NDArray[np.uint64]) -> Floats:
    """Returns noise between -1.4 and 1.4 that is linear between the corners of 8 x 8 pixel squares, [N, 64, 64]."""
    step = 8
    corners = SIZE // step + 1
    grid = draws.uniform(draws.words(key, corners * corners, first=64)).astype(np.float32).reshape(-1, corners, corners)
    grid = (grid - np.float32(0.5)) * np.float32(2.8)
    share = (np.arange(step, dtype=np.float32) / np.float32(step))[:, None]  # [8, 1]
    rows = grid[:, :-1, None] + (grid[:, 1:, None] - grid[:, :-1, None]) * share  # [N, 8, 8, 9]
    rows = rows.reshape(len(key), SIZE, corners)
    share = share.ravel()
    columns = rows[:, :, :-1, None] + (rows[:, :, 1:, None] - rows[:, :, :-1, None]) * share  # [N, 64, 8, 8]
    return columns.reshape(len(key), SIZE, SIZE)


def _noise(scenes: Scenes) -> Floats:
    """Returns grey noise [N, 64, 64]: sums of 4 random bytes, nearly normal, within 3.5 standard deviations."""
    word = draws.words(scenes.key, SIZE * SIZE // 2, first=1024)
    pairs = (word & np.uint64(0x00FF00FF00FF00FF)) + ((word >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF))
    pairs = pairs + (pairs >> np.uint64(16))  # sums of four bytes in bits 0 to 15 and 32 to 47
    low = (pairs & np.uint64(0xFFFF)).astype(np.float32)
    high = ((pairs >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.float32)
    sums = np.concatenate([low, high], axis=1).reshape(-1, SIZE, SIZE)
    # 4 bytes: mean 510, variance 4 (256**2 - 1) / 12 = 147.8**2.
    return (sums - np.float32(510.0)) * (scenes.noise / np.float32(147.8))[:, None, None]
