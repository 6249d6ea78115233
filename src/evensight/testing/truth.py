"""The truth about reliance where the data set can draw an image again: the donor's level, all else equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from evensight.data.manifest import Manifest
from evensight.metrics.intervals import clopper_pearson_lower, clopper_pearson_upper
from evensight.records.instruments import Instruments
from evensight.testing.predictions import Batch, Progress, Served, decoded, judged, silent
from evensight.testing.scores import Scores


@runtime_checkable
class Redraws(Protocol):
    """A reader that can draw an image of its manifest with another level of an attribute."""

    def redraw(self, row: Mapping[str, Any], attribute: str, level: str) -> NDArray[np.uint8]:
        """Returns RGB pixels, uint8 [H, W, 3]."""


@runtime_checkable
class RedrawsBatches(Redraws, Protocol):
    """A reader that is faster when it draws several images at once."""

    def redraw_batch(
        self, rows: Sequence[Mapping[str, Any]], attribute: str, levels: Sequence[str]
    ) -> Sequence[NDArray[np.uint8]] | NDArray[np.uint8]:
        """Returns what `redraw` does of each row, uint8 [N, H, W, 3], or a list where sizes differ."""


@dataclass(frozen=True)
class Truth:
    """What the model says of redrawn images.

    Attributes:
        drawn: [R], positions among the M decodable images.
        prediction: [R], of the redrawn image.
        moved: bool [R], the decision is the donor's class.
    """

    drawn: NDArray[np.int64]
    prediction: NDArray[np.int64]
    moved: NDArray[np.bool_]

    def summary(self, alpha: float) -> dict[str, Any]:
        """Returns `share` of images moved with its interval (each side at alpha) and n."""
        x, n = int(self.moved.sum()), len(self.moved)
        low, high = float(clopper_pearson_lower(x, n, alpha)), float(clopper_pearson_upper(x, n, alpha))
        return {"share": x / n if n else None, "low": low, "high": high, "n": n}

    def columns(self, cue: str, scores: Scores) -> list[pl.Series]:
        """Returns `truth:<cue>` (moved) and `truth:<cue>:prediction` over all N images, null where none was drawn."""
        moved: list[bool | None] = [None] * len(scores.rows)
        prediction: list[int | None] = [None] * len(scores.rows)
        for place, decided, went in zip(scores.known[self.drawn].tolist(), self.prediction, self.moved, strict=True):
            moved[place], prediction[place] = bool(went), int(decided)
        return [
            pl.Series(f"truth:{cue}", moved, dtype=pl.Boolean),
            pl.Series(f"truth:{cue}:prediction", prediction, dtype=pl.Int64),
        ]


def redrawn(
    served: Served, tools: Instruments, manifest: Manifest, scores: Scores, reader: Redraws, progress: Progress = silent
) -> dict[str, Truth]:
    """Redraws every image with the level of the donor it was given, for each cue that is an attribute of that name.

    Args:
        served: The model.
        tools: Whose donors are rows of `manifest`.
        manifest: Of the split.
        scores: Of the split.
        reader: Draws.
        progress: Told of the images done.
    """
    found = {}
    for cue, operators in scores.outcomes.items():
        if cue in manifest.levels and operators:
            outcome = next(iter(operators.values()))  # the donor of an image is the same for every operator of a cue
            levels = manifest.frame[cue].gather(tools.bank.rows[outcome.donor].numpy()).to_list()
            found[cue] = _judged(served, scores, reader, cue, levels, outcome.donor_class, progress)
    return found


def _judged(
    served: Served,
    scores: Scores,
    reader: Redraws,
    attribute: str,
    levels: list[str | None],
    donor_class: Tensor,
    progress: Progress,
) -> Truth:
    known = [place for place, level in enumerate(levels) if level is not None]
    # Of each image that is drawn: its row and its level.
    rows = [scores.rows[int(scores.known[place])] for place in known]
    drawn = [str(levels[place]) for place in known]

    def load(number: int) -> Tensor:
        return decoded(reader.redraw(rows[number], attribute, drawn[number]), served.max_pixels)

    def decisions(batch: Batch) -> NDArray[np.int64]:
        found: NDArray[np.int64] = batch.predictions.numpy()
        return found

    failed: dict[int, str] = {}  # a reader that cannot redraw this attribute or image
    together = None
    if isinstance(reader, RedrawsBatches):
        together = partial(_loaded, served, reader, rows, attribute, drawn)
    batches = judged(
        served,
        load,
        len(known),
        decisions,
        failed,
        progress=progress,
        what=f"redrawing {attribute}",
        load_batch=together,
    )
    decided = np.concatenate([np.zeros(0, np.int64), *batches])
    places = np.array([place for number, place in enumerate(known) if number not in failed], dtype=np.int64)
    return Truth(places, decided, decided == donor_class.numpy()[places])


def _loaded(
    served: Served,
    reader: RedrawsBatches,
    rows: Sequence[Mapping[str, Any]],
    attribute: str,
    levels: Sequence[str],
    numbers: range,
) -> list[Tensor]:
    chosen = slice(numbers.start, numbers.stop)
    redrawn = reader.redraw_batch(rows[chosen], attribute, levels[chosen])
    return [decoded(pixels, served.max_pixels) for pixels in redrawn]
