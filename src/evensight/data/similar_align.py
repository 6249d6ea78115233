"""How alike two thumbnails are once one is laid over the other: crop, stretch, brightness and contrast are fitted first.

Lucas and Kanade's (1981) least squares with an affine change of brightness, from coarse to fine, for many pairs at
once. What is left over is judged as a whole and at its worst spot: a different figure over one photograph is alike
nearly everywhere, and no duplicate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Where a search begins: shares cut off each side of the first image, below 0 of the second.
_STARTS = (-0.10, -0.06, -0.03, 0.0, 0.03, 0.06, 0.10)
MAX_CUT = 0.14  # no edge moves further than this share of the side
_CHUNK = 2048  # pairs at once: 2,048 thumbnails of 32 px in float32 are 8 MB
_FLAT = 4.0  # variance (grey levels squared) below which an image shows nothing


@dataclass(frozen=True)
class Alignment:
    """Of M pairs, each `[M]`.

    Attributes:
        whole: Squared difference that is left, as a share of the variance: 1 - correlation squared.
        worst: The same over the worst of 64 fields, as a share of the image's mean variance.
        window: Left, right, top and bottom edge of the second image in shares of the first, `[M, 4]`.
    """

    whole: Floats
    worst: Floats
    window: Floats


def pooled(images: Floats, size: int) -> Floats:
    """Returns means over square fields, `[M, S, S]` to `[M, size, size]`."""
    count, side = images.shape[0], images.shape[1]
    step = side // size
    means: Floats = images.reshape(count, size, step, size, step).mean(axis=(2, 4))
    return means


def sampling(low: Floats, high: Floats, size: int) -> tuple[Floats, Floats]:
    """Returns the linear interpolation that reads `size` points from `low` to `high` along one side.

    Args:
        low: Where the first pixel's outer edge lies, in shares of the side `[M]`.
        high: Where the last pixel's outer edge lies `[M]`.
        size: Pixels of a side.

    Returns:
        Weights `[M, size, size]` and whether each point lies within the image `[M, size]`.
    """
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    at = low[:, None] * (1 - steps) + high[:, None] * steps
    inside = ((at > 0) & (at < 1)).astype(np.float32)
    pixels = np.clip(at * size - 0.5, 0, size - 1)
    weights = np.maximum(0, 1 - np.abs(pixels[:, :, None] - np.arange(size, dtype=np.float32)))
    return weights.astype(np.float32), inside


def align(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Alignment:
    """Lays each second thumbnail over its first: uint8 `[M, T, T]` both, T a multiple of 16."""
    count = len(first)
    whole, worst = np.ones(count, np.float32), np.ones(count, np.float32)
    window = np.tile(np.array([0, 1, 0, 1], np.float32), (count, 1))
    for begin in range(0, count, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        whole[part], worst[part], window[part] = _align(first[part].astype(np.float32), second[part].astype(np.float32))
    return Alignment(whole, worst, window)


def _align(first: Floats, second: Floats) -> tuple[Floats, Floats, Floats]:
    coarse = pooled(first, 16), pooled(second, 16)
    window = _start(*coarse)
    for size, rounds in ((16, 3), (first.shape[1], 3)):
        one, other = coarse if size == 16 else (first, second)
        for _ in range(rounds):
            window = _step(one, other, window)
    whole, worst = _left_over(first, second, window)
    straight = np.tile(np.array([0, 1, 0, 1], np.float32), (len(first), 1))
    whole_straight, worst_straight = _left_over(first, second, straight)
    better = whole_straight <= whole
    return (
        np.where(better, whole_straight, whole),
        np.where(better, worst_straight, worst),
        np.where(better[:, None], straight, window),
    )


def _start(first: Floats, second: Floats) -> Floats:
    best = np.full(len(first), np.inf, np.float32)
    window = np.zeros((len(first), 4), np.float32)
    for across in _STARTS:
        for down in _STARTS:
            if abs(across - down) > 0.065:
                continue
            cut = np.tile(np.array([across, 1 - across, down, 1 - down], np.float32), (len(first), 1))
            cut[:, :2] = cut[:, :2] if across >= 0 else _inverse(cut[:, :2])
            cut[:, 2:] = cut[:, 2:] if down >= 0 else _inverse(cut[:, 2:])
            left, _ = _left_over(first, second, cut)
            window[left < best] = cut[left < best]
            best = np.minimum(best, left)
    return window


def _inverse(edges: Floats) -> Floats:
    """Where the first's edges lie once the second is cut by as much: -c / (1 - 2c)."""
    cut = -edges[:, :1]
    far = cut / (1 - 2 * cut)
    return np.concatenate([-far, 1 + far], axis=1).astype(np.float32)


def _warped(first: Floats, window: Floats) -> tuple[Floats, Floats]:
    size = first.shape[1]
    across, inside_x = sampling(window[:, 0], window[:, 1], size)
    down, inside_y = sampling(window[:, 2], window[:, 3], size)
    return down @ first @ across.transpose(0, 2, 1), inside_y[:, :, None] * inside_x[:, None, :]


def _step(first: Floats, second: Floats, window: Floats) -> Floats:
    count, size = len(first), first.shape[1]
    warped, mask = _warped(first, window)
    slope_y, slope_x = np.gradient(warped, axis=(1, 2))
    u = (np.arange(size, dtype=np.float32) + 0.5) / size
    wide, high = (window[:, 1] - window[:, 0])[:, None, None], (window[:, 3] - window[:, 2])[:, None, None]
    slope_x, slope_y = slope_x * size / wide, slope_y * size / high
    ones = np.ones_like(warped)
    # Brightness, contrast and the four edges, all linear in the unknowns: B = b + g A + sum of g dp dA/dp.
    columns = [ones, warped, slope_x * (1 - u), slope_x * u]
    columns += [slope_y * (1 - u)[:, None], slope_y * u[:, None]]
    design = np.stack(columns, axis=1).reshape(count, 6, -1)
    weighted = design * mask.reshape(count, 1, -1)
    normal = weighted @ design.transpose(0, 2, 1)
    target = (weighted @ second.reshape(count, -1, 1)).astype(np.float64)
    normal = normal.astype(np.float64)
    normal[:, range(6), range(6)] *= 1.001  # keeps what an image without edges leaves open where it is
    normal[:, range(6), range(6)] += 1e-3
    found = np.linalg.solve(normal, target)[:, :, 0]
    gain = np.where(np.abs(found[:, 1]) < 0.1, 1.0, found[:, 1])
    move = np.clip(found[:, 2:] / gain[:, None], -0.04, 0.04)
    moved = window + move
    straight = np.array([0, 1, 0, 1], np.float64)
    return np.clip(moved, straight - MAX_CUT, straight + MAX_CUT).astype(np.float32)


def _left_over(first: Floats, second: Floats, window: Floats) -> tuple[Floats, Floats]:
    warped, mask = _warped(first, window)
    total = mask.sum(axis=(1, 2))
    one = (warped - ((warped * mask).sum(axis=(1, 2)) / total)[:, None, None]) * mask
    other = (second - ((second * mask).sum(axis=(1, 2)) / total)[:, None, None]) * mask
    both, first_energy, second_energy = (one * other).sum((1, 2)), (one**2).sum((1, 2)), (other**2).sum((1, 2))
    gain = np.maximum(both, 0) / np.maximum(first_energy, 1e-6)  # a negative is no duplicate
    rest = (other - gain[:, None, None] * one) ** 2
    shows = (first_energy > _FLAT * total) & (second_energy > _FLAT * total)
    whole = np.where(shows, rest.sum((1, 2)) / np.maximum(second_energy, 1e-6), 1.0)
    worst = pooled(rest, 8).max(axis=(1, 2)) / np.maximum(second_energy / total, 1e-6)
    return whole.astype(np.float32), np.where(shows, worst, 1.0).astype(np.float32)
