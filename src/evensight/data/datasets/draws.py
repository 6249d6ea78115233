"""Random numbers that are the same on every machine: SplitMix64 over keys, in 64-bit integers alone.

A draw is a pure function of (key, counter), so an image is drawn without drawing those before it, in any order and by
any number of threads. NumPy's own generators promise their bit streams but not their distributions, and ziggurat
normals call `exp` and `log`, whose last bit differs between platforms.

Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Applies the SplitMix64 finaliser to an array of any shape; the result is a new array."""
    x = x ^ (x >> np.uint64(30))
    x *= _FIRST
    x ^= x >> np.uint64(27)
    x *= _SECOND
    x ^= x >> np.uint64(31)
    return x


def keys(*parts: Any) -> NDArray[np.uint64]:
    """Folds integers and integer arrays (broadcast against each other) into one key each.

    Args:
        parts: Integers of at least 0, or arrays of them; their order counts.
    """
    shape = np.broadcast_shapes(*(np.shape(part) for part in parts))
    # At least one dimension: NumPy warns where a scalar wraps around, as these must.
    key = np.zeros(shape or (1,), np.uint64)
    for part in parts:
        key = mix((key ^ np.asarray(part).astype(np.uint64)) + _GOLDEN)
    return key.reshape(shape)


def words(key: NDArray[np.uint64], count: int, first: int = 0) -> NDArray[np.uint64]:
    """Draws 64-bit words.

    Args:
        key: Keys [...].
        count: Words a key.
        first: Counter of the first word; ranges of one key that do not overlap are independent.

    Returns:
        Words [..., count].
    """
    counters = np.arange(first + 1, first + 1 + count, dtype=np.uint64) * _GOLDEN
    return mix(key[..., None] + counters)


def below(word: NDArray[np.uint64], bound: int) -> NDArray[np.int64]:
    """Turns words into integers 0 .. bound - 1 by their upper 32 bits; the bias is under bound / 2**32."""
    return (((word >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def uniform(word: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turns words into doubles in [0, 1), exactly: their upper 53 bits."""
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


def chance(word: NDArray[np.uint64], probability: float) -> NDArray[np.bool_]:
    """Turns words into True with `probability`, to 2**-32; 0 and 1 are exact."""
    return (word >> np.uint64(32)) < np.uint64(round(probability * 2**32))


def normal(key: NDArray[np.uint64], count: int, first: int = 0) -> NDArray[np.float64]:
    """Draws standard normals as the sum of 12 uniforms less 6 (mean 0, variance 1, kurtosis 2.9, within 6).

    The sum is taken in integers, so its order does not matter. Uses 12 words a draw.

    Args:
        key: Keys [...].
        count: Draws a key.
        first: Counter of the first word.

    Returns:
        Draws [..., count].
    """
    halves = (words(key, 12 * count, first) >> np.uint64(32)).astype(np.int64)
    total = halves.reshape(*key.shape, count, 12).sum(axis=-1)
    result: NDArray[np.float64] = (total - 6 * (2**32 - 1)).astype(np.float64) * 2.0**-32
    return result
