"""Which images are odd: blank, blurred, badly exposed, far too small or long, or stored in an odd manner.

A photograph is called blurred, under- or over-exposed where it passes a fixed mark *and* lies far from the data's own
median: `FAR` robust standard deviations (1.4826 x the median absolute deviation, with a floor). So digits on black,
shapes on plain ground, or photographs of the night raise no alarm for what all of them are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight.audit.chapter import Severity

Mask = NDArray[np.bool_]

# How many robust standard deviations from the data's median an image lies to be called unusual.
FAR = 3.5
# Largest less smallest value, of 1: what JPEG makes of one colour spans up to 2 of 255.
BLANK_SPAN = 2 / 255
# 95 % of the pixels below it, or above the other, and nothing in the image that stands out of it.
UNDER, OVER, EXPOSED_SPAN = 0.15, 0.85, 0.5
# `detail` of photographs (BAR) is .16 to 1.5; 99 % of them are below this after a blur of 1 % of the longer side.
BLURRED = 0.13
LONG = 3.0  # longer side / shorter side: the centre square then shows a third of the image
TINY_SIDE, HUGE_PIXELS = 32, 4_000_000


@dataclass(frozen=True)
class Kind:
    """What is said of one code.

    Attributes:
        words: What the images are.
        action: What to do.
        severity: Of a few of them.
        danger: Of a few of them; grows with their share.
        column: The property that ranks them, the smallest first; with a minus the largest first; empty for none.
        quarantined: Whether training should leave them out.
    """

    words: str
    action: str
    severity: Severity = "note"
    danger: float = 0.05
    column: str = ""
    quarantined: bool = False


KINDS: dict[str, Kind] = {
    "blank": Kind(
        "images that are blank, one colour all over",
        "They show nothing: leave them out, or find out what wrote them.",
        "warning",
        0.35,
        "span",
        True,
    ),
    "under_exposed": Kind("images that are all but black", "See whether they show their class.", column="luma_high"),
    "over_exposed": Kind("images that are all but white", "See whether they show their class.", column="-luma_low"),
    "blurred": Kind("images that are blurred, or were enlarged", "See whether they show their class.", column="detail"),
    "tiny": Kind(
        "images far smaller than the others",
        "Enlarged they are a blur: leave them out, or get the originals.",
        column="width",
    ),
    "huge": Kind("images far larger than the others", "They slow loading: reduce them once.", column="-width"),
    "long": Kind(
        "images over three times as long as wide",
        "The centre square shows less than a third of them: crop them to the object.",
    ),
    "several_frames": Kind("files of several frames", "Only the first frame is used.", column="-frames"),
    "wrong_extension": Kind("files whose name claims another format", "Rename them: other tools go by the name."),
    "mode_16_bit": Kind("images of 16 bits a channel among others", "Their high byte is used: see that it shows all."),
    "mode_cmyk": Kind("CMYK images among others", "Convert them to RGB with their profile; it is not applied here."),
    "mode_alpha": Kind("images with an alpha channel among others", "They are put on white: a background of its own."),
    "mode_palette": Kind("palette images among others", "Their colours are few: see that they are no class's own."),
    "mode_float": Kind("float images among others", "Values 0 to 1 become 0 to 255: see that this is meant."),
    "mode_one_bit": Kind("images of one bit among others", "They are black and white: see that they are photographs."),
}
_MODES = {
    "mode_16_bit": ("I;16", "I;16B", "I;16L", "I;16N", "I"),
    "mode_cmyk": ("CMYK",),
    "mode_alpha": ("RGBA", "LA", "La", "PA", "RGBa"),
    "mode_palette": ("P", "PA"),
    "mode_float": ("F",),
    "mode_one_bit": ("1",),
}
_NUMBERS = ("width", "height", "detail", "luma_low", "luma_high", "span", "frames")


def odd(properties: pl.DataFrame, measured: Mask) -> dict[str, Mask]:
    """Returns which images are odd in which way, bool `[N]` for each of `KINDS`.

    Args:
        properties: Columns as `properties.COLUMNS`, N rows.
        measured: Which could be decoded, `[N]`.
    """
    column = {name: properties[name].cast(pl.Float64).to_numpy() for name in _NUMBERS}
    width, height = column["width"], column["height"]
    short, longer = np.fmin(width, height), np.fmax(width, height)
    with np.errstate(invalid="ignore", divide="ignore"):
        length, pixels, logs = longer / short, width * height, np.log10(column["detail"])
        low, high, span = column["luma_low"], column["luma_high"], column["span"]
        faint = span < EXPOSED_SPAN
        blank = span <= BLANK_SPAN
        found = {
            "blank": blank,
            "under_exposed": (high < UNDER) & faint & ~blank & (high < _limit(high, measured, -1, 0.05)),
            "over_exposed": (low > OVER) & faint & ~blank & (low > _limit(low, measured, 1, 0.05)),
            "blurred": (column["detail"] < BLURRED) & ~blank & (logs < _limit(logs, measured, -1, 0.1)),
            "tiny": (short < TINY_SIDE) & (short < _median(short, measured) / 2),
            "huge": (pixels > HUGE_PIXELS) & (pixels > 16 * _median(pixels, measured)),
            "long": (length > LONG) & (length > 2 * _median(length, measured)),
            "several_frames": column["frames"] > 1,
        }
    claimed = (pl.col("format") != pl.col("extension_format")).fill_null(False)
    found["wrong_extension"] = properties.select(claimed).to_series().to_numpy()
    for name, modes in _MODES.items():
        there = properties["mode"].is_in(modes).fill_null(False).to_numpy()
        # What most images are is not odd.
        found[name] = there & bool(2 * (there & measured).sum() < measured.sum())
    return {name: np.asarray(found[name], np.bool_) & measured for name in KINDS}


def _median(values: NDArray[np.float64], measured: Mask) -> float:
    known = values[measured & np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _limit(values: NDArray[np.float64], measured: Mask, side: int, floor: float) -> float:
    """Returns the value `FAR` robust standard deviations, each at least `floor`, below (-1) or above the median."""
    middle = _median(values, measured)
    return middle + side * FAR * max(1.4826 * _median(np.abs(values - middle), measured), floor)
