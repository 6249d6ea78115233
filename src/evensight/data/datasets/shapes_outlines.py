"""The eight outlines as polygons in a circle of radius 1, y down, and their signed distances.

Exactly rounded operations only: see `shapes_draw`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [V, 2]


def turns(turn: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns cosine and sine of angles in turns [0, 1), to 1e-10, the same to the bit everywhere."""
    turn = np.asarray(turn, np.float64)
    return _cosine(turn), _cosine(turn - 0.25)


def _cosine(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = np.abs(turn - np.rint(turn))  # 0 to 1/2
    mirrored = turn > 0.25
    angle = np.where(mirrored, 0.5 - turn, turn) * 6.283185307179586
    square = angle * angle
    # Taylor's series to x**16 by Horner's rule; its next term is under 6e-13 at a quarter turn.
    value = np.ones_like(square)
    for even in range(16, 0, -2):
        value = 1.0 - value * square / (even * (even - 1))
    return np.where(mirrored, -value, value)


def _around(count: int, radii: tuple[float, ...] = (1.0,), start: float = -0.25) -> Points:
    """Returns `count` points at equal angles, the first at the top, at the radii in turn."""
    cosine, sine = turns((np.arange(count) / count + start) % 1.0)
    radius = np.asarray([radii[i % len(radii)] for i in range(count)])
    return np.stack([cosine * radius, sine * radius], axis=1)


def _arc(centre: tuple[float, float], radius: float, first: float, last: float, count: int) -> Points:
    """Returns points of an arc from `first` to `last` turn, both in it."""
    cosine, sine = turns((first + (last - first) * np.arange(count) / (count - 1)) % 1.0)
    return np.stack([centre[0] + radius * cosine, centre[1] + radius * sine], axis=1)


def _cross() -> Points:
    arm, reach = 0.34, 0.94
    corner = [(-arm, -reach), (arm, -reach), (arm, -arm)]
    points = []
    for _ in range(4):
        points += corner
        corner = [(-y, x) for x, y in corner]
    unique = [point for i, point in enumerate(points) if point != points[i - 1]]
    return np.asarray(unique, np.float64)


def _heart() -> Points:
    """Two arcs, the notch between them and the point below."""
    left = _arc((-0.42, -0.34), 0.459, 0.395, 0.92, 20)
    right = left[::-1] * np.asarray([-1.0, 1.0])
    return np.concatenate([left, np.asarray([[0.0, -0.38]]), right, np.asarray([[0.0, 0.96]])])


def _crescent() -> Points:
    """A disc less a disc whose diameter joins the tips: the outer arc one way, the inner arc back."""
    tip = 0.145  # turns from the open side
    cosine, sine = (float(part) for part in turns(tip))
    outer = _arc((0.0, 0.0), 1.0, tip, 1.0 - tip, 60)
    inner = _arc((cosine, 0.0), sine, 0.75, 0.25, 40)
    return np.concatenate([outer, inner[1:-1]])


_OUTLINES: dict[str, Callable[[], Points]] = {
    "circle": lambda: _around(96, (0.92,)),
    "triangle": lambda: _around(3),
    "square": lambda: _around(4),
    "pentagon": lambda: _around(5),
    "star": lambda: _around(10, (1.0, 0.42)),
    "cross": _cross,
    "heart": _heart,
    "crescent": _crescent,
}
SHAPES = tuple(_OUTLINES)


def outline(name: str) -> Points:
    """Returns the polygon [V, 2] of a shape, within the unit circle."""
    return _OUTLINES[name]()


def distances(name: str, side: int, reach: float) -> NDArray[np.float64]:
    """Returns the signed distance to the outline, negative inside, at a grid [side, side] from -reach to reach."""
    points = outline(name)
    at = (np.arange(side) - (side - 1) / 2) * (2 * reach / (side - 1))
    x, y = at[None, :], at[:, None]
    nearest = np.full((side, side), np.inf)
    inside = np.zeros((side, side), bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        dx, dy = x2 - x1, y2 - y1
        share = np.clip(((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
        off_x, off_y = x - x1 - share * dx, y - y1 - share * dy
        nearest = np.minimum(nearest, off_x * off_x + off_y * off_y)
        if y1 != y2:
            crosses = ((y1 <= y) != (y2 <= y)) & (x < x1 + (y - y1) / (y2 - y1) * dx)
            inside ^= crosses
    distance = np.sqrt(nearest)
    signed: NDArray[np.float64] = np.where(inside, -distance, distance)
    return signed
