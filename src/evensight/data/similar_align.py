"""How alike two thumbnails are once one is laid over the other: crop, sharpness and brightness are fitted first.

Lucas and Kanade's (1981) least squares for the four edges, with gain and offset, from coarse to fine, for many pairs
at once. Images are read through their low cosine frequencies: smooth, so that a stretched image is read without
steps, and equally smooth on both sides after the stretch. What is left over is judged as a whole and at its worst
spot: a different figure over one photograph is alike nearly everywhere, and no duplicate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32 throughout

SIDE = 32  # pixels of a thumbnail
MAX_CUT = 0.15  # no edge moves further than this share of the side
FIELDS = 8  # of a side, for the worst spot
_TURNS = 20  # cosine frequencies that are kept
_SMOOTH = 1.0  # pixels, standard deviation of the blur both images get
_COARSE, _FINE = (2.0, 10, 12), (_SMOOTH, _TURNS, 24)  # blur, frequencies and points of a side
_BLURS = (0.3, 0.8, 1.6, 3.5)  # more blur (pixels squared) for one of the two: the other may have been smaller once
# What may be left over before the coarse fit, after one step of it, and after three, in a pair that is looked at
# further: of 300 crops of photographs at most .24, .08 and .08, of a real copy that is cut unevenly .41, .09 and .06.
_HOPELESS, _UNLIKELY, _PLAUSIBLE = 0.6, 0.25, 0.08
_CHUNK = 256  # pairs at once: of more, what is in between leaves the cores' cache
_SLACK = 0.012  # share of a side
_FLAT = 4.0  # variance (grey levels squared) below which an image shows nothing
STRAIGHT = (0.0, 1.0, 0.0, 1.0)

_STEPS = 8192
_LOW, _HIGH = -0.5, 1.5


@dataclass(frozen=True)
class Alignment:
    """Of M pairs.

    Attributes:
        straight: Squared difference of the two as they lie, a share of the variance: 1 - correlation squared `[M]`.
        straight_worst: The same over the worst of 64 fields, as a share of the mean variance of a field `[M]`.
        moved: As `straight`, with the second laid over the first `[M]`; 1 where that is hopeless.
        moved_worst: `[M]`.
        window: Left, right, top and bottom edge of the second image in shares of the first `[M, 4]`.
    """

    straight: Floats
    straight_worst: Floats
    moved: Floats
    moved_worst: Floats
    window: Floats


def joined(parts: list[Alignment]) -> Alignment:
    """Returns parts as one; no part is no pair."""
    if not parts:
        none = np.zeros(0, np.float32)
        return Alignment(none, none, none, none, np.zeros((0, 4), np.float32))
    names = ("straight", "straight_worst", "moved", "moved_worst", "window")
    return Alignment(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def contained(window: Floats) -> NDArray[np.bool_]:
    """Returns whether one of each two images lies within the other, but for a third of a pixel: a crop does `[M]`."""
    inwards = (window - np.array(STRAIGHT)) * np.array([1, -1, 1, -1])
    return np.asarray((inwards > -_SLACK).all(axis=1) | (inwards < _SLACK).all(axis=1))


def _cosine_matrix() -> Floats:
    points, turns = np.arange(SIDE) + 0.5, np.arange(_TURNS)
    matrix = np.cos(np.pi / SIDE * np.outer(turns, points)) * np.sqrt(2 / SIDE)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix.astype(np.float32))


def _tables() -> tuple[Floats, Floats]:
    """The cosines and their slopes at finely spaced places: reading them is ten times faster than computing them."""
    places, turns = np.linspace(_LOW, _HIGH, _STEPS + 1), np.arange(_TURNS)
    scale = np.where(turns == 0, np.sqrt(1 / SIDE), np.sqrt(2 / SIDE))
    phase = np.pi * np.outer(places, turns)
    return (np.cos(phase) * scale).astype(np.float32), (-np.sin(phase) * scale * np.pi * turns).astype(np.float32)


_MATRIX = _cosine_matrix()
_COSINES, _SLOPES = _tables()


def spectra(thumbnails: NDArray[np.uint8]) -> Floats:
    """Returns the low cosine frequencies of thumbnails uint8 `[M, 32, 32]`, float32 `[M, 20, 20]`."""
    return np.asarray(_MATRIX @ thumbnails.astype(np.float32) @ _MATRIX.T, np.float32)


def cropped(thumbnails: NDArray[np.uint8], window: Floats) -> Floats:
    """Returns the part of each thumbnail within its window `[M, 4]` (see `Alignment`), float32 `[M, 32, 32]`."""
    rows, _, _ = _read(window[:, 2], window[:, 3], _TURNS, SIDE)
    columns, _, _ = _read(window[:, 0], window[:, 1], _TURNS, SIDE)
    return np.asarray(rows @ spectra(thumbnails) @ columns.transpose(0, 2, 1), np.float32)


def align(first: NDArray[np.uint8], second: NDArray[np.uint8], cut: Floats) -> Alignment:
    """Lays each second thumbnail over its first.

    Args:
        first: uint8 `[M, 32, 32]`.
        second: uint8 `[M, 32, 32]`.
        cut: Share that the second may lack of each side of the first: where the search begins `[M]`.
    """
    parts = [slice(begin, begin + _CHUNK) for begin in range(0, len(first), _CHUNK)]
    return joined([_align(spectra(first[part]), spectra(second[part]), cut[part]) for part in parts])


def _align(first: Floats, second: Floats, cut: Floats) -> Alignment:
    count = len(first)
    straight, straight_worst, moved, moved_worst = (np.ones(count, np.float32) for _ in range(4))
    unmoved = np.tile(np.array(STRAIGHT, np.float32), (count, 1))
    near = np.flatnonzero(_rough(first, second, unmoved) < _PLAUSIBLE)
    straight[near], straight_worst[near] = _judge(first[near], second[near], unmoved[near])
    window = (unmoved + cut[:, None] * np.array([1, -1, 1, -1])).astype(np.float32)
    near = np.arange(count)
    for most, steps in ((_HOPELESS, 1), (_UNLIKELY, 2), (_PLAUSIBLE, 0)):
        near = near[_rough(first[near], second[near], window[near]) < most]
        for _ in range(steps):
            window[near] = _step(first[near], second[near], window[near], _COARSE)
    one, other, edges = first[near], second[near], window[near]
    for _ in range(3):
        edges = _step(one, other, edges, _FINE)
    moved[near], moved_worst[near] = _judge(one, other, edges)
    window[near] = edges
    return Alignment(straight, straight_worst, moved, moved_worst, window)


def _rough(first: Floats, second: Floats, window: Floats) -> Floats:
    return _left_over(*_views(first, second, window, _COARSE))[0]


def _read(low: Floats, high: Floats, turns: int, size: int) -> tuple[Floats, Floats, Floats]:
    """Returns the cosines and their slopes `[M, size, turns]` at places evenly between two edges, and the places."""
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    places = low[:, None] * (1 - steps) + high[:, None] * steps
    rows = np.rint((places - _LOW) * (_STEPS / (_HIGH - _LOW))).astype(np.int32)
    return _COSINES[:, :turns][rows], _SLOPES[:, :turns][rows], places


def _well_inside(places: Floats) -> NDArray[np.bool_]:
    return (places > 1 / SIDE) & (places < 1 - 1 / SIDE)


def _damped(variance: Floats, turns: int) -> Floats:
    """Returns what a Gaussian blur of this variance (pixels squared) leaves of each frequency `[M, turns]`."""
    waves = (np.pi / SIDE * np.arange(turns, dtype=np.float32)) ** 2
    return np.asarray(np.exp(-np.maximum(variance, 0)[:, None] * waves / 2).astype(np.float32))


def _views(
    first: Floats, second: Floats, window: Floats, scale: tuple[float, int, int], blur: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Returns the first within the window, the second, and where both have pixels, each `[M, size, size]`."""
    one, other, mask, _, _ = _sloped(first, second, window, scale, blur)
    return one, other, mask


def _sloped(
    first: Floats,
    second: Floats,
    window: Floats,
    scale: tuple[float, int, int],
    blur: float = 0.0,
    slopes: bool = False,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    smooth, turns, size = scale
    damped_one, damped_other, reads, inside = [], [], [], []
    whole, _, places = _read(np.zeros(1, np.float32), np.ones(1, np.float32), turns, size)
    for low, high in ((window[:, 2], window[:, 3]), (window[:, 0], window[:, 1])):
        width = high - low
        # A pixel is itself a mean over its width: variance 1/12, larger where the image is stretched.
        total = np.maximum(1, 1 / width**2) * (smooth**2 + 1 / 12)
        damped_one.append(_damped(width**2 * total - 1 / 12 + max(blur, 0.0), turns))
        damped_other.append(_damped(total - 1 / 12 + max(-blur, 0.0), turns))
        reads.append(_read(low, high, turns, size))
        # Near an edge one of the two knows what lies beyond and the other does not: a pixel is left out there.
        inside.append(_well_inside(reads[-1][2]) & _well_inside(places))
    (rows, row_slopes, _), (columns, column_slopes, _) = reads
    source = first[:, :turns, :turns] * damped_one[0][:, :, None] * damped_one[1][:, None, :]
    target = second[:, :turns, :turns] * damped_other[0][:, :, None] * damped_other[1][:, None, :]
    other = whole[0] @ target @ whole[0].T
    right = source @ columns.transpose(0, 2, 1)
    mask = np.broadcast_to((inside[0][:, :, None] & inside[1][:, None, :]).astype(np.float32), other.shape)
    if not slopes:
        return rows @ right, other, mask, other, other
    return rows @ right, other, mask, row_slopes @ right, rows @ (source @ column_slopes.transpose(0, 2, 1))


def _step(first: Floats, second: Floats, window: Floats, scale: tuple[float, int, int]) -> Floats:
    """One step of least squares: second = offset + gain x first + the first's slopes x what the edges move."""
    count, size = len(first), scale[2]
    one, other, mask, slope_y, slope_x = _sloped(first, second, window, scale, slopes=True)
    u = (np.arange(size, dtype=np.float32) + 0.5) / size
    columns: list[Floats] = [np.ones_like(one), one, slope_x * (1 - u), slope_x * u]
    columns += [slope_y * (1 - u)[:, None], slope_y * u[:, None]]
    design = np.stack(columns, axis=1).reshape(count, 6, size * size)
    weighted = design * mask.reshape(count, 1, size * size)
    normal = (weighted @ design.transpose(0, 2, 1)).astype(np.float64)
    target = (weighted @ other.reshape(count, size * size, 1)).astype(np.float64)
    normal[:, range(6), range(6)] *= 1.0005  # an edge that nothing in the image fixes stays where it is
    normal[:, range(6), range(6)] += 1e-3
    found = np.linalg.solve(normal, target)[:, :, 0]
    gain = np.where(found[:, 1] < 0.2, 1.0, found[:, 1])
    moved = window + np.clip(found[:, 2:] / gain[:, None], -0.04, 0.04)
    straight = np.array(STRAIGHT)
    return np.clip(moved, straight - MAX_CUT, straight + MAX_CUT).astype(np.float32)


def _judge(first: Floats, second: Floats, window: Floats) -> tuple[Floats, Floats]:
    """Returns what is left over at the best blur of either: more is tried while it helps."""
    whole, worst = _left_over(*_views(first, second, window, _FINE))
    sharp = np.flatnonzero(whole < _PLAUSIBLE)
    for side in (1.0, -1.0):
        tried = sharp
        for blur in _BLURS:
            if not len(tried):
                break
            left, field = _left_over(*_views(first[tried], second[tried], window[tried], _FINE, side * blur))
            better = left < whole[tried]
            tried, left, field = tried[better], left[better], field[better]
            whole[tried], worst[tried] = left, field
    return whole, worst


def _left_over(one: Floats, other: Floats, mask: Floats) -> tuple[Floats, Floats]:
    """Returns what a curve of brightness (a parabola) leaves of the second, as a whole and in the worst field."""
    total = np.maximum(mask.sum(axis=(1, 2)), 1)
    one, other = _centred(one, mask, total), _centred(other, mask, total)
    energy, wanted = (one**2).sum((1, 2)), (other**2).sum((1, 2))
    gain = np.maximum((one * other).sum((1, 2)), 0) / np.maximum(energy, 1e-6)  # a negative is no duplicate
    rest = other - gain[:, None, None] * one
    bend = _centred(one**2, mask, total)
    bend = bend - ((bend * one).sum((1, 2)) / np.maximum(energy, 1e-6))[:, None, None] * one
    curve = (bend * rest).sum((1, 2)) / np.maximum((bend**2).sum((1, 2)), 1e-3)
    rest = (rest - curve[:, None, None] * bend) ** 2
    shows = (energy > _FLAT * total) & (wanted > _FLAT * total)
    whole = np.where(shows, rest.sum((1, 2)) / np.maximum(wanted, 1e-6), 1.0)
    side = rest.shape[1] // FIELDS
    if side * FIELDS != rest.shape[1]:
        return whole.astype(np.float32), whole.astype(np.float32)
    fields = rest.reshape(len(rest), FIELDS, side, FIELDS, side).sum(axis=(2, 4)).max(axis=(1, 2))
    worst = np.where(shows, fields * FIELDS**2 / np.maximum(wanted, 1e-6), 1.0)
    return whole.astype(np.float32), worst.astype(np.float32)


def _centred(image: Floats, mask: Floats, total: Floats) -> Floats:
    centred: Floats = (image - ((image * mask).sum(axis=(1, 2)) / total)[:, None, None]) * mask
    return centred
