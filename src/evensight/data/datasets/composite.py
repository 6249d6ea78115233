"""Figures over photographs: the kind of place behind a shape or a digit may give its class away.

The photographs are real, the figures and their masks are known to the pixel, and the photograph behind a figure is kept
beside it: the true test of background, surround, box and mask.
"""

from __future__ import annotations

import functools
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
from evensight.data.datasets import composite_draw as drawing
from evensight.data.datasets import draws, shapes_draw
from evensight.data.datasets.coloured_mnist import DIGITS, load_mnist
from evensight.data.datasets.composite_photos import Photographs, opened, photographs, reopened
from evensight.data.datasets.redrawing import Redrawn
from evensight.data.datasets.roots import known_root
from evensight.data.digests import BOX
from evensight.data.reading import SPLITS, Progress, Reader, Reading
from evensight.errors import UserError, unknown

FIGURES: Mapping[str, tuple[str, ...]] = {"shapes": shapes_draw.SHAPES, "digits": DIGITS}
# Independent streams of one image's random numbers.
_CONTENT, _FIGURE, _GROUND = range(3)
Content = dict[str, NDArray[np.int64]]


@dataclass
class CompositeReader(Redrawn, Reader):
    """Draws the images under the recipe's folder and lists them.

    There are as many classes as kinds of place, K, and class k's own place is the k-th.
    """

    name: str = "composite"  # folder under datasets_dir
    reader: str = "composite"  # a name of names.READERS
    sealed: bool = False  # drawn anew at no cost
    figures: str = "shapes"  # shapes, or digits (of MNIST)
    # Folder of photographs: a folder a kind of place, or files <place>_<n>.jpg; null: bar/train under EVENSIGHT_DATA,
    # or beside the clone.
    photos: str | None = None
    mnist: str | None = None  # folder with train.npz and test.npz, for digits; null: as for photos
    mirror: bool = True  # half of the photographs are mirrored left to right
    # Chance that a training or validation image has its class's own place; else any of the K alike.
    correlation: float = 0.95
    num_train: int = 6000  # training images
    num_validation: int = 1500  # validation images
    num_test: int = 4500  # test images, the same number in each of the K x K cells of class and place
    seed: int = 0  # of the drawing, and of which photographs are in which split

    version: ClassVar[int] = 1  # of the drawing; part of the recipe

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Draws what is not there yet and lists it; see `Reader.read`.

        Files: ``images/<split>/<index>.png``, ``masks/<split>.npy`` uint8 `[N, 64, 64]`, how far the figure covers each
        pixel (0 to 255), and ``photos/<split>.npy`` uint8 `[N, 64, 64, 3]`, what is behind it.

        Raises:
            UserError: A setting is out of its range, or the photographs or MNIST are not there.
        """
        self.check()
        photos = self.photographs()
        contents = {split: contents_of(self, photos, split) for split in SPLITS}
        done = folder / "drawn.json"
        drawn = {"version": self.version, "photographs": photos.digest}
        if not done.is_file() or done.read_text(encoding="utf-8") != files.canonical_json(drawn):
            self._draw_files(folder, photos, contents, progress)
            files.write_text(done, files.canonical_json(drawn))  # last: a drawing that was interrupted is done again
        rows = [_rows(self, photos, folder, split, content) for split, content in contents.items()]
        own = dict(zip(self.class_names(photos), photos.places, strict=True))
        return Reading(rows=pl.concat(rows), root=folder, usual={"place": own})

    def photographs(self) -> Photographs:
        """Returns the photographs by split and place; see `composite_photos.photographs`."""
        return photographs(self.photos, len(FIGURES[self.figures]), self.seed)

    def class_names(self, photos: Photographs) -> tuple[str, ...]:
        """Returns the K classes: the first shapes or digits, one a place."""
        return FIGURES[self.figures][: len(photos.places)]

    def num_images(self, split: str, num_cells: int) -> int:
        """Returns how many images a split has; under `limit`, the test split keeps its cells equal."""
        count = int(getattr(self, f"num_{split}"))
        if self.limit is None:
            return count
        return min(count, max(self.limit // num_cells, 1) * num_cells if split == "test" else self.limit)

    def check(self) -> None:
        """Raises UserError where a setting is out of its range."""
        if self.figures not in FIGURES:
            raise unknown("data.figures", self.figures, FIGURES)
        if not 0.0 <= self.correlation <= 1.0:
            raise UserError(f"data.correlation: {self.correlation} is not between 0 and 1.")
        for key in ("num_train", "num_validation", "num_test"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key}: {getattr(self, key)} is not a number of images; allowed: 1 or more.")
        if self.seed < 0:
            raise UserError(f"data.seed: {self.seed} is negative; allowed: 0 or more.")

    def _redrawable(self, attribute: str) -> Mapping[str, Sequence[str]]:
        return {"place": self._photos_once.places, "colour": shapes_draw.COLOURS}

    def _redrawn(
        self, split: str, index: NDArray[np.int64], attribute: str, level: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Draws the same figures before photographs of another place, of each image's own split, or in a colour."""
        photos = self._photos_once
        content = contents_of(self, photos, split, index)
        content[attribute] = level
        behind = np.asarray(_behind(self, photos, split, index, content["place"]))
        key = draws.keys(self.seed, SPLITS.index(split), index, _GROUND)
        ground = np.empty((len(index), drawing.SIZE, drawing.SIZE, 3), np.uint8)
        for name in np.unique(behind):
            of_it = behind == name
            ground[of_it] = drawing.crops(reopened(photos.root, str(name)), key[of_it], self.mirror)
        return drawing.laid_over(self._figures(split, index, content), ground)

    @functools.cached_property
    def _photos_once(self) -> Photographs:
        return self.photographs()

    @functools.cached_property
    def _glyphs(self) -> dict[str, list[NDArray[np.uint8]]]:
        """Split -> for each digit its images; validation has every sixth of the training images of a digit."""
        root = known_root(self.mnist, "mnist", ("train.npz", "test.npz"), "data.mnist")
        (train, labels), (test, test_labels) = (load_mnist(root / f"{name}.npz") for name in ("train", "test"))
        of_digit = [train[labels == k] for k in range(len(DIGITS))]
        held = [np.arange(len(images)) % 6 == 5 for images in of_digit]
        return {
            "train": [images[~out] for images, out in zip(of_digit, held, strict=True)],
            "validation": [images[out] for images, out in zip(of_digit, held, strict=True)],
            "test": [test[test_labels == k] for k in range(len(DIGITS))],
        }

    def _figures(self, split: str, index: NDArray[np.int64], content: Content) -> drawing.Figures:
        """Draws the figures of images `index` [N] of a split, whose `content` is [N]."""
        key = draws.keys(self.seed, SPLITS.index(split), index, _FIGURE)
        if self.figures == "shapes":
            return drawing.shapes(key, content["label"], content["colour"], content["size"])
        word = draws.words(key, 1, first=32)[:, 0]
        glyphs = [self._glyphs[split][k] for k in content["label"].tolist()]
        chosen = [images[draws.below(word[i : i + 1], len(images))[0]] for i, images in enumerate(glyphs)]
        return drawing.digits(key, np.stack(chosen), content["colour"], content["size"])

    def _draw_files(
        self, folder: Path, photos: Photographs, contents: Mapping[str, Content], progress: Progress
    ) -> None:
        total, drawn = sum(len(content["label"]) for content in contents.values()), 0
        for split, content in contents.items():
            (folder / "images" / split).mkdir(parents=True, exist_ok=True)
            masks = np.empty((len(content["label"]), drawing.SIZE, drawing.SIZE), np.uint8)
            grounds = np.empty((*masks.shape, 3), np.uint8)
            for positions, cover, ground in self._draw_split(split, folder / "images" / split, photos, content):
                masks[positions], grounds[positions] = cover, ground
                drawn += len(positions)
                progress("drawing figures over photographs", drawn, total)
            for name, array in (("masks", masks), ("photos", grounds)):
                with files.replaced(folder / name / f"{split}.npy") as temporary, temporary.open("wb") as file:
                    np.save(file, array)
        os.sync()  # once for all images: a sync of each would take longer than drawing them

    def _draw_split(
        self, split: str, folder: Path, photos: Photographs, content: Content
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]]:
        """Writes a split's images by all cores; yields positions, covers and backgrounds, photograph by photograph."""
        import cv2

        index = np.arange(len(content["label"]), dtype=np.int64)
        behind = np.asarray(_behind(self, photos, split, index, content["place"]))
        order = np.argsort(behind, kind="stable")
        groups = np.split(order, np.flatnonzero(behind[order][1:] != behind[order][:-1]) + 1)

        def work(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
            key = draws.keys(self.seed, SPLITS.index(split), positions, _GROUND)
            ground = drawing.crops(opened(photos.root, str(behind[positions[0]])), key, self.mirror)
            figures = self._figures(split, positions, {name: values[positions] for name, values in content.items()})
            for i, image in zip(positions, drawing.laid_over(figures, ground), strict=True):
                _, encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
                path = folder / f"{i:06d}.png"
                with files.writing(path):
                    path.write_bytes(encoded.tobytes())
            return positions, figures.cover, ground

        if self.figures == "digits":
            _ = self._glyphs  # read once, before threads ask
        # Threads are enough: Pillow, NumPy and the encoder let go of the interpreter while they work.
        with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
            yield from pool.map(work, groups)


def contents_of(
    reader: CompositeReader, photos: Photographs, split: str, index: NDArray[np.int64] | None = None
) -> Content:
    """Returns what the images of a split show: numbers of class, place, colour and size [N], by name.

    Args:
        reader: The settings.
        photos: Whose places.
        split: A name of SPLITS.
        index: The images wanted; None for the whole split.

    Raises:
        UserError: The test images do not divide into equal cells.
    """
    num = len(photos.places)
    if index is None:
        index = np.arange(reader.num_images(split, num * num), dtype=np.int64)
    num_colours, num_sizes = len(shapes_draw.COLOURS), len(shapes_draw.SIZES)
    if split == "test":
        if reader.num_test % (num * num):
            near = max(1, round(reader.num_test / (num * num))) * num * num
            raise UserError(
                f"data.num_test: {reader.num_test} does not divide into {num * num} equal cells of class and place; "
                f"the nearest that does is {near}."
            )
        cell, turn = index % (num * num), index // (num * num)
        label, place = np.divmod(cell, num)
        # Cells begin at different combinations, so that what is left over does not always fall on the same ones.
        size, colour = np.divmod((turn + cell) % (num_sizes * num_colours), num_colours)
        return {"label": label, "place": place, "colour": colour, "size": size}
    word = draws.words(draws.keys(reader.seed, SPLITS.index(split), index, _CONTENT), 4)
    label = index % num
    own = draws.chance(word[:, 0], reader.correlation)
    return {
        "label": label,
        "place": np.where(own, label, draws.below(word[:, 1], num)),
        "colour": draws.below(word[:, 2], num_colours),
        "size": draws.below(word[:, 3], num_sizes),
    }


def _behind(
    reader: CompositeReader, photos: Photographs, split: str, index: NDArray[np.int64], place: NDArray[np.int64]
) -> list[str]:
    """Returns the photograph behind each image: any of its place and split alike."""
    word = draws.words(draws.keys(reader.seed, SPLITS.index(split), index, _GROUND), 1)[:, 0]
    of_split = photos.paths[split]
    counts = [len(paths) for paths in of_split]
    numbers = [draws.below(word, count) for count in counts]
    return [of_split[at][numbers[at][i]] for i, at in enumerate(place.tolist())]


def _rows(reader: CompositeReader, photos: Photographs, folder: Path, split: str, content: Content) -> pl.DataFrame:
    count = len(content["label"])
    levels = {
        "label": reader.class_names(photos),
        "place": photos.places,
        "colour": shapes_draw.COLOURS,
        "size": shapes_draw.SIZES,
    }
    box = drawing.boxes(np.load(folder / "masks" / f"{split}.npy", mmap_mode="r"))
    columns: dict[str, Any] = {
        "path": [f"images/{split}/{i:06d}.png" for i in range(count)],
        "split": [split] * count,
        "mask": [f"masks/{split}.npy#{i}" for i in range(count)],
        **{name: np.asarray(names)[content[name]].tolist() for name, names in levels.items()},
        "source": _behind(reader, photos, split, np.arange(count), content["place"]),
        **{name: box[:, side] for side, name in enumerate(BOX)},
    }
    return pl.DataFrame(columns)
