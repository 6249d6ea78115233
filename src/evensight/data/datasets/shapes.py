"""The shapes data set: eight shapes in eight colours, drawn on this machine; the colour may give the shape away."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight import files
from evensight.data.datasets import draws
from evensight.data.datasets import shapes_draw as drawing
from evensight.data.datasets.redrawing import Redrawn
from evensight.data.reading import SPLITS, Progress, Reader, Reading
from evensight.data.traffic import WAVES, Drawn
from evensight.errors import UserError, unknown

_NUM_CELLS = len(drawing.SHAPES) * len(drawing.COLOURS)
_CHUNK = 64  # images drawn at once: their arrays stay in the processor's cache

# What an image shows: the levels, in the order of their numbers.
LEVELS: Mapping[str, tuple[str, ...]] = {
    "shape": drawing.SHAPES,
    "colour": drawing.COLOURS,
    "background": drawing.BACKGROUNDS,
    "size": drawing.SIZES,
}
# What may be the class, and the objective that is for it.
OBJECTIVES: Mapping[str, str] = {"shape": "shapes", "colour": "shapes_by_colour"}


@dataclass
class ShapesReader(Redrawn, Reader):
    """Draws the images under the recipe's folder and lists them."""

    name: str = "shapes"  # folder under datasets_dir
    reader: str = "shapes"  # a name of names.READERS
    sealed: bool = False  # drawn anew at no cost
    # Chance that a training or validation image has its class's own colour; else any of the 8 alike.
    correlation: float = 0.95
    palette: str = "even"  # even: one range of brightness for all colours; vivid: natural brightness, harder
    num_train: int = 8000  # training images
    num_validation: int = 2000  # validation images
    num_test: int = 6016  # test images, the same number in each of the 64 cells of shape and colour
    seed: int = 0  # of the drawing; another seed gives other images of the same kind
    label: str = "shape"  # shape, or colour: the same images whose class is the colour; the other is an attribute

    version: ClassVar[int] = drawing.VERSION  # of the drawing; part of the recipe

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Draws what is not there yet and lists it; see `Reader.read`.

        Files: ``images/<split>/<index>.png``, and ``masks/<split>.npy`` uint8 `[N, 64, 64]`, how far the shape covers
        each pixel (0 to 255).

        Raises:
            UserError: A setting is out of its range, or all classes are of the other `label`.
        """
        self.check()
        self._check_classes(classes)
        contents = {split: contents_of(self, split) for split in SPLITS}
        self._draw_files(folder, contents, progress)
        own = dict(zip(LEVELS[self.label], LEVELS[self.other], strict=True))
        rows = [_rows(self, split, content) for split, content in contents.items()]
        return Reading(rows=pl.concat(rows), root=folder, usual={self.other: own})

    @property
    def other(self) -> str:
        """The attribute that goes with the class: colour, or with ``label=colour`` shape."""
        return "colour" if self.label == "shape" else "shape"

    def num_images(self, split: str) -> int:
        """Returns how many images a split has; under `limit`, the test split keeps its cells equal."""
        count = int(getattr(self, f"num_{split}"))
        if self.limit is None:
            return count
        return min(count, max(self.limit // _NUM_CELLS, 1) * _NUM_CELLS if split == "test" else self.limit)

    def check(self) -> None:
        """Raises UserError where a setting is out of its range."""
        if not 0.0 <= self.correlation <= 1.0:
            raise UserError(f"data.correlation: {self.correlation} is not between 0 and 1.")
        if self.palette not in drawing.PALETTES:
            raise unknown("data.palette", self.palette, drawing.PALETTES)
        if self.label not in OBJECTIVES:
            raise unknown("data.label", self.label, OBJECTIVES)
        for key in ("num_train", "num_validation", "num_test"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key}: {getattr(self, key)} is not a number of images; allowed: 1 or more.")
        if self.num_test % _NUM_CELLS:
            near = max(1, round(self.num_test / _NUM_CELLS)) * _NUM_CELLS
            raise UserError(
                f"data.num_test: {self.num_test} does not divide into {_NUM_CELLS} equal cells; "
                f"the nearest that does is {near}."
            )
        if self.seed < 0:
            raise UserError(f"data.seed: {self.seed} is negative; allowed: 0 or more.")

    def _redrawable(self, attribute: str) -> Mapping[str, Sequence[str]]:
        if self.label == "colour":
            raise UserError(f"data.label=colour: {attribute!r} cannot be redrawn; the colour is the class itself.")
        return {"colour": drawing.COLOURS}

    def _redrawn(
        self, split: str, index: NDArray[np.int64], attribute: str, level: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        redrawn, _ = drawing.draw(drawing.recolour(scenes_of(self, split, index), level, self.palette))
        return redrawn

    @property
    def waves(self) -> Mapping[str, str]:
        """What each wave of traffic is like."""
        return {
            "as_trained": f"{self.other} goes with {self.label} as in training",
            "cue_free": f"{self.other} no longer goes with {self.label}",
            "new_background": f"the same before a background that no image had: {drawing.NEW_BACKGROUNDS[0]}",
        }

    def draw_traffic(self, wave: str, start: int, count: int) -> Drawn:
        """Draws images of a wave; see `data.traffic.DrawsTraffic`."""
        if wave not in self.waves:
            raise unknown("wave", wave, self.waves)
        index = np.arange(start, start + count, dtype=np.int64)
        key = draws.keys(self.seed, len(SPLITS) + WAVES.index(wave), index)
        # Drawn, not in turn: senders do not take turns, and labels that come back are then of all shapes.
        shape = draws.below(draws.words(key, 1, first=44)[:, 0], len(drawing.SHAPES))
        content = _drawn_contents(key, shape, self.correlation if wave == "as_trained" else 0.0)
        if wave == "new_background":
            content["background"] = np.full_like(index, len(drawing.BACKGROUNDS))
        shown = (content["shape"], content["colour"], content["background"], content["size"])
        images, _ = drawing.draw(drawing.plan(key, *shown, self.palette))
        levels = {name: [_level(name, number) for number in content[name].tolist()] for name in LEVELS}
        labels = [str(level) for level in levels.pop(self.label)]
        return Drawn(images, labels, levels)

    def _check_classes(self, classes: tuple[str, ...] | None) -> None:
        if classes is None or set(classes) & set(LEVELS[self.label]):
            return
        fits = "" if not set(classes) <= set(LEVELS[self.other]) else f", or data.label={self.other}"
        raise UserError(
            f"objective.classes: {', '.join(classes)} are no classes of data.label={self.label} "
            f"({', '.join(LEVELS[self.label])}); choose objective={OBJECTIVES[self.label]}{fits}."
        )

    def _draw_files(
        self, folder: Path, contents: Mapping[str, Mapping[str, NDArray[np.int64]]], progress: Progress
    ) -> None:
        # Written last, so that a drawing that was interrupted is done again.
        done = folder / "drawn.json"
        if done.exists():
            return
        total, drawn = sum(len(content["shape"]) for content in contents.values()), 0
        for split, content in contents.items():
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            masks = np.empty((len(content["shape"]), drawing.SIZE, drawing.SIZE), np.uint8)
            for positions, cover in _draw_split(self, split, folder / "images" / split, len(masks)):
                masks[positions] = cover
                drawn += len(cover)
                progress("drawing shapes", drawn, total)
            with files.replaced(folder / "masks" / f"{split}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, masks)
        os.sync()  # once for all images: a sync of each would take longer than drawing them
        files.write_json(done, {"version": drawing.VERSION, "images": total})


def contents_of(
    reader: ShapesReader, split: str, index: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.int64]]:
    """Returns what the images of a split show: numbers of LEVELS [N], by the names of LEVELS.

    Args:
        reader: The settings.
        split: A name of SPLITS.
        index: The images wanted; None for the whole split.
    """
    if index is None:
        index = np.arange(reader.num_images(split), dtype=np.int64)
    if split == "test":
        # Every cell alike, and within a cell every combination of background and size as nearly as the number allows.
        cell, turn = index % _NUM_CELLS, index // _NUM_CELLS
        shape, colour = np.divmod(cell, len(drawing.COLOURS))
        # Cells begin at different combinations, so that what is left over does not always fall on the same ones.
        size, background = np.divmod(
            (turn + cell) % (len(LEVELS["size"]) * len(LEVELS["background"])), len(LEVELS["background"])
        )
        return {"shape": shape, "colour": colour, "background": background, "size": size}
    return _drawn_contents(_keys(reader, split, index), index % len(drawing.SHAPES), reader.correlation)


def _drawn_contents(
    key: NDArray[np.uint64], shape: NDArray[np.int64], correlation: float
) -> dict[str, NDArray[np.int64]]:
    """Draws what images of given shapes show, [N]: the shape's own colour by chance, the rest alike."""
    word = draws.words(key, 4, first=40)
    own = draws.chance(word[:, 0], correlation)
    return {
        "shape": shape,
        "colour": np.where(own, shape, draws.below(word[:, 1], len(drawing.COLOURS))),
        "background": draws.below(word[:, 2], len(drawing.BACKGROUNDS)),
        "size": draws.below(word[:, 3], len(drawing.SIZES)),
    }


def _level(name: str, number: int) -> str | None:
    """Returns a level by its number; None for a background of traffic alone."""
    return LEVELS[name][number] if number < len(LEVELS[name]) else None


def scenes_of(reader: ShapesReader, split: str, index: NDArray[np.int64]) -> drawing.Scenes:
    """Returns the scenes of the images `index` [N] of a split."""
    content = contents_of(reader, split, index)
    key = _keys(reader, split, index)
    return drawing.plan(
        key, content["shape"], content["colour"], content["background"], content["size"], reader.palette
    )


def _keys(reader: ShapesReader, split: str, index: NDArray[np.int64]) -> NDArray[np.uint64]:
    return draws.keys(reader.seed, SPLITS.index(split), index)


def _rows(reader: ShapesReader, split: str, content: Mapping[str, NDArray[np.int64]]) -> pl.DataFrame:
    columns: dict[str, Any] = {}
    for name, levels in LEVELS.items():
        columns["label" if name == reader.label else name] = np.asarray(levels)[content[name]].tolist()
    count = len(content["shape"])
    paths = [f"images/{split}/{i:06d}.png" for i in range(count)]
    masks = [f"masks/{split}.npy#{i}" for i in range(count)]
    return pl.DataFrame({"path": paths, "split": [split] * count, "mask": masks, **columns})


def _draw_split(
    reader: ShapesReader, split: str, folder: Path, count: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Writes a split's images by all cores and yields the positions and covers of each chunk, in order."""
    import cv2

    def work(start: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        index = np.arange(start, min(start + _CHUNK, count), dtype=np.int64)
        images, cover = drawing.draw(scenes_of(reader, split, index))
        for i, image in zip(index, images, strict=True):
            # Twice as fast as Pillow; PNG is lossless, so only the file's bytes depend on the encoder.
            _, encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            path = folder / f"{i:06d}.png"
            with files.writing(path):
                path.write_bytes(encoded.tobytes())
        return index, cover

    # Threads are enough: NumPy and the encoder let go of the interpreter while they work.
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        yield from pool.map(work, range(0, count, _CHUNK))
