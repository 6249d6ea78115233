"""If these fail, a mask lies beside its object, or a broken one ends a reading."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evensight.data.annotations import masks
from evensight.data.annotations.masks import brush_mask, decoded, polygons_mask, runs_mask, unpacked

HEIGHT, WIDTH = 11, 9


def inside(corners: np.ndarray, x: float, y: float) -> bool:
    """Even-odd rule by a ray to the left, one pixel at a time."""
    crossed = False
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
            crossed ^= x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return crossed


def by_pixel(polygons: list[np.ndarray]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            if any(inside(corners, column + 0.5, row + 0.5) for corners in polygons):
                mask[row, column] = 255
    return mask


# Quarters of pixels: corners and edges often lie on the centres, where rules differ.
CORNER = st.tuples(st.integers(-12, 4 * WIDTH + 12), st.integers(-12, 4 * HEIGHT + 12))
POLYGON = st.lists(CORNER, min_size=3, max_size=8).map(lambda corners: np.array(corners, np.float64) / 4)


@given(polygons=st.lists(POLYGON, max_size=3))
@example(polygons=[np.array([(0, 0), (-0.25, -0.25), (6, 6)])])  # a line through centres
def test_polygons_are_filled_as_pixel_by_pixel(polygons: list[np.ndarray]) -> None:
    assert np.array_equal(polygons_mask(polygons, HEIGHT, WIDTH), by_pixel(polygons))


def test_a_box_of_whole_pixels_is_just_these_pixels() -> None:
    mask = decoded([[2, 1, 5, 1, 5, 4, 2, 4]], 6, 7)
    expected = np.zeros((6, 7), np.uint8)
    expected[1:4, 2:5] = 255
    assert np.array_equal(mask, expected)


def test_polygons_that_share_an_edge_share_no_pixel() -> None:
    left = polygons_mask([np.array([[0, 0], [3.5, 0], [5.5, 9], [0, 9.0]])], 9, 9)
    right = polygons_mask([np.array([[3.5, 0], [9, 0], [9, 9], [5.5, 9.0]])], 9, 9)
    assert not (left & right).any() and ((left | right) == 255).all()


# --- run lengths; the oracles are the published C code, letter by letter ---


def runs_of(mask: np.ndarray) -> list[int]:
    """Lengths of runs down the columns, the first of pixels outside."""
    runs, value = [0], 0
    for pixel in (mask.T.reshape(-1) > 0).astype(int).tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def packed(runs: list[int]) -> str:
    """As rleToString of the COCO API's maskApi.c."""
    letters = []
    for place, run in enumerate(runs):
        x = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            part = x & 0x1F
            x >>= 5
            more = x != -1 if part & 0x10 else x != 0
            letters.append(chr((part | 0x20 if more else part) + 48))
    return "".join(letters)


@given(seed=st.integers(0, 10**6), height=st.integers(1, 40), width=st.integers(1, 40), share=st.floats(0, 1))
def test_run_lengths_plain_and_packed(seed: int, height: int, width: int, share: float) -> None:
    mask = np.where(np.random.default_rng(seed).random((height, width)) < share, 255, 0).astype(np.uint8)
    mask = np.repeat(mask, 1 + seed % 50, axis=0)  # numbers of several letters
    height = len(mask)
    runs = runs_of(mask)
    for counts in (runs, packed(runs)):
        assert np.array_equal(decoded({"size": [height, width], "counts": counts}, height, width), mask)


def test_an_example_of_the_published_code() -> None:
    # 6 of the zeros, one 1, 40 zeros, 4 ones: 6, 1, 40 and, as a difference, 4 - 1 = 3.
    assert unpacked("61X13").tolist() == [6, 1, 40, 4]


def coded(mask: np.ndarray, sizes: tuple[int, ...] = (3, 4, 8, 16), brush: int = 255) -> list[int]:
    """A brush's RGBA picture in Label Studio's code, some runs repeated, some value by value."""
    picture = np.zeros((*mask.shape, 4), np.uint8)
    picture[mask > 0] = (10, 20, 30, brush)
    values = picture.reshape(-1).tolist()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    while at < len(values):
        run = 1
        while at + run < len(values) and values[at + run] == values[at] and run < 2 ** sizes[-1]:
            run += 1
        which = next(place for place, size in enumerate(sizes) if run <= 2**size)
        if run > 2:
            bits += f"1{which:02b}{run - 1:0{sizes[which]}b}{values[at]:08b}"
        else:
            run = min(5, len(values) - at)
            bits += f"0{0:02b}{run - 1:0{sizes[0]}b}" + "".join(f"{value:08b}" for value in values[at : at + run])
        at += run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_a_brush(seed: int, share: float) -> None:
    mask = np.where(np.random.default_rng(seed).random((7, 5)) < share, 255, 0).astype(np.uint8)
    assert np.array_equal(brush_mask(coded(mask, brush=1 + seed % 255), 7, 5), mask)


# --- what is broken ---


@pytest.mark.parametrize(
    "segmentation, said",
    [
        ([[0, 0, 1, 1]], "three or more pairs"),
        ([[0, 0, 1, 1, 2, 2, 3]], "three or more pairs"),
        ([[0, 0, 1, "1", 2, 2]], "no number"),
        ([[0, 0, 1, True, 2, 2]], "no number"),
        ([[0, 0, 1, float("nan"), 2, 2]], "not finite"),
        ([[0, 0, 1, 1e300, 2, 2]], "beyond all images"),
        ([[0, 0, 1, 10**400, 2, 2]], "beyond all images"),
        ([3], "three or more pairs"),
        ("polygon", "neither polygons nor"),
        ({"size": [4, 5], "counts": [20]}, r"its size is \[4, 5\] and its image's \[5, 4\]"),
        ({"counts": [20]}, "its size is None"),
        ({"size": [5, 4], "counts": [19]}, "add up to 19"),
        ({"size": [5, 4], "counts": [-1, 21]}, "negative"),
        ({"size": [5, 4], "counts": [2**62, 2**62]}, "more than"),
        ({"size": [5, 4], "counts": [10**30]}, "beyond all images"),
        ({"size": [5, 4], "counts": [0] * 50 + [20]}, "more than"),
        ({"size": [5, 4], "counts": [20.0]}, "neither whole numbers"),
        ({"size": [5, 4], "counts": None}, "neither whole numbers"),
        ({"size": [5, 4], "counts": "é"}, "none of the code's"),
        ({"size": [5, 4], "counts": " "}, "none of the code's"),
        ({"size": [5, 4], "counts": "P"}, "end within a number"),
        ({"size": [5, 4], "counts": "P" * 9 + "0"}, "beyond all images"),
        ({"size": [5, 4], "counts": ""}, "add up to 0"),
    ],
)
def test_broken_masks_say_what_is_wrong(segmentation: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decoded(segmentation, 5, 4)


@pytest.mark.parametrize("nothing", [None, [], {}, ""])
def test_no_mask_is_none(nothing: object) -> None:
    assert decoded(nothing, 5, 4) is None


def test_a_drawing_that_would_take_for_ever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "MAX_CROSSINGS", 100)
    comb = [[float(x), 1000.0 * (x % 2)] for x in range(12)]
    with pytest.raises(ValueError, match="over 100 crossings"):
        polygons_mask([np.array(comb)], 1000, 1000)


LETTERS = st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)
RUBBISH = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4), LETTERS),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)


@given(segmentation=st.one_of(RUBBISH, st.fixed_dictionaries({"size": st.just([5, 4]), "counts": RUBBISH})))
def test_anything_is_a_mask_or_a_value_error(segmentation: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            mask = decoded(segmentation, 5, 4)
        except ValueError:
            return
    assert mask is None or (mask.shape == (5, 4) and set(np.unique(mask).tolist()) <= {0, 255})


@given(code=st.one_of(st.lists(st.integers(0, 255), max_size=40), RUBBISH), cut=st.integers(0, 60), at=st.integers(0))
def test_anything_is_a_brush_or_a_value_error(code: object, cut: int, at: int) -> None:
    good = coded(np.eye(5, 4, dtype=np.uint8))
    good[at % len(good)] ^= 1 << at % 8
    for each in (code, good[:cut], good):
        try:
            mask = brush_mask(each, 5, 4)
        except ValueError:
            continue
        assert mask.shape == (5, 4)


def test_run_lengths_follow_the_columns() -> None:
    assert runs_mask(np.array([1, 2, 3]), 3, 2).tolist() == [[0, 0], [255, 0], [255, 0]]
