"""Masks as annotation files write them: polygons, run lengths, packed run lengths, and a brush's. All become pixels.

A mask is uint8 `[H, W]`, 0 or 255. Nothing here trusts its input: a code that is broken, or that would take more work
than any drawing needs, is a ValueError, which a reader turns into a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]

INSIDE = 255
# Crossings of edges with pixel rows that one mask may have: a drawing has thousands.
MAX_CROSSINGS = 5_000_000
# A packed number has 5 bits a letter: no run is longer than 2^40 pixels.
_MAX_LETTERS = 8
_FARTHEST = 1e9  # pixels


def decoded(segmentation: Any, height: int, width: int) -> Mask | None:
    """Returns the mask that COCO's ``segmentation`` stands for.

    Args:
        segmentation: A list of polygons ``[x, y, x, y, ...]``, or run lengths ``{"size": [H, W], "counts": ...}`` with
            counts as a list or, packed, as a text; anything empty is no mask.
        height: Of the image the mask belongs to.
        width: As `height`.

    Raises:
        ValueError: It is of another kind, broken, or of another size than the image.
    """
    if segmentation in (None, [], {}, ""):
        return None
    if isinstance(segmentation, list):
        return polygons_mask([_points(polygon) for polygon in segmentation], height, width)
    if not isinstance(segmentation, dict):
        raise ValueError(f"a {type(segmentation).__name__} is neither polygons nor run lengths")
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"its size is {segmentation.get('size')!r:.40} and its image's [{height}, {width}]")
    counts = segmentation.get("counts")
    runs = unpacked(counts) if isinstance(counts, str) else _whole(counts)
    return runs_mask(runs, height, width)


def polygons_mask(polygons: Sequence[NDArray[np.float64]], height: int, width: int) -> Mask:
    """Fills polygons: a pixel is inside where its centre lies in one of them, by the even-odd rule within each.

    A centre on an edge belongs to the polygon on its right or below it, so that polygons which share an edge share no
    pixel.

    Args:
        polygons: Corners `[P, 2]` of each as x, y in pixels, where 0, 0 is the upper left corner of the first pixel.
        height: Of the image; what lies outside is cut away.
        width: As `height`.

    Raises:
        ValueError: A corner is not finite or beyond all images, or there are more than `MAX_CROSSINGS` crossings.
    """
    mask = np.zeros((height, width), np.uint8)
    left = MAX_CROSSINGS
    for corners in polygons:
        rows, columns = _crossings(corners, height, width, left)
        left -= len(rows)
        if not len(rows):
            continue
        first, last = int(rows.min()), int(rows.max()) + 1
        # Each crossing turns all pixels on its right from outside to inside, or back.
        turns = np.bincount((rows - first) * (width + 1) + columns, minlength=(last - first) * (width + 1))
        inside = np.cumsum(turns.reshape(last - first, width + 1), axis=1)[:, :width] % 2 == 1
        mask[first:last][inside] = INSIDE
    return mask


def _crossings(
    corners: NDArray[np.float64], height: int, width: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns where a polygon's edges cross the lines of pixel centres: the row, and the first pixel on its right."""
    if not bool((np.abs(corners) < _FARTHEST).all()):  # false for NaN
        raise ValueError("a corner is not finite, or beyond all images")
    start, end = corners, np.roll(corners, -1, axis=0)
    down = start[:, 1] <= end[:, 1]
    upper, lower = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
    # Rows whose centre line lies in [upper, lower): each corner is counted with one of its two edges.
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    after = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    num = after - first
    total = int(num.sum())
    if total > most:
        raise ValueError(f"it has over {MAX_CROSSINGS:,} crossings of edges and pixel rows")
    edge = np.repeat(np.arange(len(num)), num)
    rows = np.arange(total) - np.repeat(np.cumsum(num) - num, num) + first[edge]
    across, along = (lower - upper)[edge].T
    # Divided last: what crosses at a centre itself is then found there, and not a bit beside it.
    x = upper[edge, 0] + (rows + 0.5 - upper[edge, 1]) * across / along
    return rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)


def runs_mask(runs: NDArray[np.int64], height: int, width: int) -> Mask:
    """Returns the mask of run lengths: outside, inside, outside, ... down the columns, as COCO counts.

    Raises:
        ValueError: A run is negative, or all together are not `height` x `width`.
    """
    # One after the other: a sum of 64 bits may wrap.
    if (len(runs) and (runs.min() < 0 or runs.max() > height * width)) or len(runs) > 2 * height * width + 2:
        raise ValueError("its run lengths are negative, or more than the image has pixels")
    if int(runs.sum()) != height * width:
        raise ValueError(f"its run lengths add up to {int(runs.sum())}, and the image has {height * width} pixels")
    values = np.where(np.arange(len(runs)) % 2 == 1, INSIDE, 0).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def unpacked(text: str) -> NDArray[np.int64]:
    """Returns the run lengths of COCO's packed text.

    Six bits a letter from ``0`` on: five of the number, lowest first, and one that says whether more follow; the last
    letter's fifth is the sign. From the fourth on, a number is the difference to the one two before (maskApi.c of the
    COCO API, rleFrString).

    Raises:
        ValueError: A letter is none of these, or the text ends within a number.
    """
    try:
        letters = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise ValueError("its packed run lengths hold a letter that is none of the code's") from error
    if len(letters) and (letters.min() < 0 or letters.max() > 63):
        raise ValueError("its packed run lengths hold a letter that is none of the code's")
    last = letters & 0x20 == 0
    if len(letters) and not last[-1]:
        raise ValueError("its packed run lengths end within a number")
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)[: len(ends)]
    lengths = ends + 1 - starts
    if len(lengths) and lengths.max() > _MAX_LETTERS:
        raise ValueError("its packed run lengths hold a number beyond all images")
    place = np.arange(len(letters)) - np.repeat(starts, lengths)
    parts = (letters & 0x1F) << (5 * place)
    numbers = np.add.reduceat(parts, starts) if len(starts) else parts
    numbers = numbers - np.where(letters[ends] & 0x10 != 0, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def brush_mask(code: Any, height: int, width: int) -> Mask:
    """Returns the mask of Label Studio's brush: where the alpha of its coded RGBA picture is not 0.

    The code is a stream of bits: 32 the number of values, 5 the bits of a value less one, four times 4 the bits of a
    length less one; then, until all values are there, a bit (whether one value is repeated, or each follows), two bits
    (which of the four), the length less one, and the value or values (thi-ng/rle-pack, which Label Studio uses).

    Args:
        code: The bytes, a list of whole numbers 0 to 255.
        height: ``original_height`` of the result.
        width: ``original_width``.

    Raises:
        ValueError: It is broken, or of another size.
    """
    if not isinstance(code, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in code):
        raise ValueError("its brush's code is no list of bytes")
    data = bytes(code)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    if len(bits) < 53:
        raise ValueError("its brush's code is cut short")
    num, size = _number(data, 0, 32), _number(data, 32, 5) + 1
    if num != height * width * 4 or size != 8:
        raise ValueError(f"its brush's code has {num:,} values of {size} bits, and its image {height} x {width} pixels")
    lengths = [_number(data, at, 4) + 1 for at in (37, 41, 45, 49)]
    values = np.zeros(num, np.uint8)
    at, done = 53, 0
    while done < num:
        if at + 3 > len(bits):
            raise ValueError("its brush's code is cut short")
        repeated, which = bool(bits[at]), _number(data, at + 1, 2)
        run = _number(data, at + 3, lengths[which]) + 1
        at += 3 + lengths[which]
        stop = at + size * (1 if repeated else run)
        if done + run > num or stop > len(bits):
            raise ValueError("its brush's code is cut short, or holds more values than it says")
        values[done : done + run] = np.packbits(bits[at:stop])
        at, done = stop, done + run
    alpha = values.reshape(height, width, 4)[..., 3]
    return np.where(alpha > 0, INSIDE, 0).astype(np.uint8)


def _number(data: bytes, at: int, size: int) -> int:
    """Returns the number that `size` bits from bit `at` on stand for."""
    end = -(-(at + size) // 8)
    return int.from_bytes(data[at // 8 : end]) >> (8 * end - at - size) & ((1 << size) - 1)


def _points(polygon: Any) -> NDArray[np.float64]:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon is no list of three or more pairs x, y")
    if not all(type(number) in (int, float) for number in polygon):
        raise ValueError("a polygon holds what is no number")
    try:
        return np.array(polygon, np.float64).reshape(-1, 2)
    except OverflowError as error:
        raise ValueError("a polygon holds a number beyond all images") from error


def _whole(counts: Any) -> NDArray[np.int64]:
    if not isinstance(counts, list) or not all(type(number) is int for number in counts):
        raise ValueError("its run lengths are neither whole numbers nor packed text")
    try:
        return np.array(counts, np.int64)
    except OverflowError as error:
        raise ValueError("its run lengths hold a number beyond all images") from error
