"""Coloured MNIST by the protocol of "Learning from Failure": digits whose colour agrees with them in training.

Nam, Cha, Ahn, Lee, Shin: Learning from Failure: Training Debiased Classifier from Biased Classifier (NeurIPS 2020).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight import files
from evensight.data.datasets import draws
from evensight.data.datasets.roots import known_root
from evensight.data.reading import SPLITS, Progress, Reader, Reading
from evensight.errors import UserError

# RGB in [0, 1]; the colour of digit k in most of its training images.
MEAN_COLOURS = (
    (0.984, 0.313, 0.169),
    (0.991, 0.916, 0.352),
    (0.673, 0.461, 0.580),
    (0.783, 0.832, 0.601),
    (0.088, 0.778, 0.982),
    (0.321, 0.961, 0.446),
    (0.025, 0.236, 0.759),
    (0.555, 0.102, 0.762),
    (0.208, 0.393, 0.019),
    (0.834, 0.202, 0.267),
)
SIGMA = {1: 0.05, 2: 0.02, 3: 0.01, 4: 0.005, 5: 0.002}  # of a colour, by severity
DIGITS = tuple(str(digit) for digit in range(10))
COLOURS = tuple(f"c{digit}" for digit in range(10))
_CHUNK = 2048  # images coloured at once


@dataclass
class ColouredMnistReader(Reader):
    """Colours MNIST and keeps the images as one array a split under the recipe's folder."""

    name: str = "coloured_mnist"  # folder under datasets_dir
    reader: str = "coloured_mnist"  # a name of names.READERS
    sealed: bool = False  # public, and its results are published
    root: str | None = (
        None  # folder with train.npz and test.npz; null: mnist/ under EVENSIGHT_DATA, or beside the clone
    )
    conflict_ratio: float = 0.01  # share of training and validation images with another digit's colour
    severity: int = 4  # 1 to 5: how narrowly colours spread around their mean; published runs use 4
    num_validation: int = 6000  # images held out of the 60,000 for training, the same share of every digit
    seed: int = 0  # of the colours and of what is held out

    version: ClassVar[int] = 1

    def check(self) -> None:
        """Raises UserError where a setting is out of its range."""
        if not 0.0 <= self.conflict_ratio <= 1.0:
            raise UserError(f"data.conflict_ratio: {self.conflict_ratio} is not between 0 and 1.")
        if self.severity not in SIGMA:
            raise UserError(f"data.severity: {self.severity} is not known; allowed: 1, 2, 3, 4, 5.")
        check_held_out(self.num_validation, self.seed)

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Colours what is not there yet and lists it; see `Reader.read`.

        Files: ``images/<split>.npy`` uint8 `[N, 28, 28, 3]`.

        Raises:
            UserError: A setting is out of its range, or MNIST is not there.
        """
        self.check()
        given = load_both(self.root, self.num_validation)
        parts = self._parts({name: labels for name, (_, labels) in given.items()})
        done = folder / "drawn.json"  # written last
        if not done.exists():
            total = sum(len(positions) for positions, _ in parts.values())
            drawn = 0
            for split, (positions, colour) in parts.items():
                images = given["test" if split == "test" else "train"][0][positions]
                write_images(folder / "images" / f"{split}.npy", self._tinted(images, split, positions, colour))
                drawn += len(positions)
                progress("colouring digits", drawn, total)
            files.write_json(done, {"version": self.version, "images": total})
        labels = {split: given["test" if split == "test" else "train"][1][at] for split, (at, _) in parts.items()}
        rows = [_rows(split, labels[split], colour) for split, (_, colour) in parts.items()]
        usual = {"colour": dict(zip(DIGITS, COLOURS, strict=True))}
        return Reading(rows=pl.concat(rows), root=folder, usual=usual)

    def _parts(self, labels: Mapping[str, NDArray[np.int64]]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Returns for each split the positions of its images in their file [N] and their colours [N]."""
        held_out = quantiles(self._words("train", len(labels["train"]))[:, 0], labels["train"])
        order = np.argsort(held_out, kind="stable")
        positions = {
            "train": np.sort(order[self.num_validation :]),
            "validation": np.sort(order[: self.num_validation]),
            "test": np.arange(len(labels["test"])),
        }
        parts = {}
        for split in SPLITS:
            at, source = positions[split], "test" if split == "test" else "train"
            word = self._words(source, len(labels[source]))[at]
            own = labels[source][at]
            place = quantiles(word[:, 1], own)
            if split == "test":
                colour = np.floor(place * len(COLOURS)).astype(np.int64)
            else:
                other = (own + 1 + draws.below(word[:, 2], len(COLOURS) - 1)) % len(COLOURS)
                colour = np.where(place < self.conflict_ratio, other, own)
            parts[split] = (at, colour)
        return parts

    def _tinted(
        self, images: NDArray[np.uint8], split: str, positions: NDArray[np.int64], colour: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Returns clamp(mean + N(0, sigma), 0, 1) x grey, one draw an image and channel, [N, 28, 28, 3]."""
        key = draws.keys(self.seed, _source(split), positions)
        drawn = draws.normal(key, 3, first=8)
        tint = np.clip(np.asarray(MEAN_COLOURS)[colour] + drawn * SIGMA[self.severity], 0.0, 1.0)
        tinted = np.empty((*images.shape, 3), np.uint8)
        for start in range(0, len(images), _CHUNK):
            part = slice(start, start + _CHUNK)
            tinted[part] = np.rint(images[part, :, :, None] * tint[part, None, None, :])
        return tinted

    def _words(self, source: str, count: int) -> NDArray[np.uint64]:
        return draws.words(draws.keys(self.seed, _source(source), np.arange(count)), 3)


def quantiles(word: NDArray[np.uint64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns where each image stands in its class when the class is sorted by its words, in (0, 1), [N].

    Taking the images below q takes the same share q of every class, to one image.
    """
    place = np.empty(len(label))
    for value in np.unique(label):
        members = np.flatnonzero(label == value)
        place[members[np.argsort(word[members], kind="stable")]] = (np.arange(len(members)) + 0.5) / len(members)
    return place


def _source(split: str) -> int:
    return 1 if split == "test" else 0


def check_held_out(num_validation: int, seed: int) -> None:
    """Raises UserError where no image would be held out of training, or the seed of what is held out is negative."""
    if num_validation < 1:
        raise UserError(f"data.num_validation: {num_validation} is not a number of images; allowed: 1 or more.")
    if seed < 0:
        raise UserError(f"data.seed: {seed} is negative; allowed: 0 or more.")


def load_both(root: str | None, num_validation: int) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Returns images [N, 28, 28] and labels [N] of MNIST's two files, ``train`` and ``test``.

    Args:
        root: Of the configuration; see `known_root`.
        num_validation: Images that will be held out of training.

    Raises:
        UserError: MNIST is not there, or nothing would be left to train on.
    """
    folder = known_root(root, "mnist", ("train.npz", "test.npz"))
    given = {name: load_mnist(folder / f"{name}.npz") for name in ("train", "test")}
    if num_validation >= (most := len(given["train"][1])):
        raise UserError(f"data.num_validation: {num_validation} leaves nothing to train on; allowed: less than {most}.")
    return given


def load_mnist(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns images uint8 [N, 28, 28] and labels [N] of one file of MNIST.

    Raises:
        UserError: It is not such a file.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: cannot be read as arrays images and labels ({error}).") from error
    if images.dtype != np.uint8 or images.ndim != 3 or labels.shape != images.shape[:1]:
        raise UserError(
            f"{file}: found images {images.dtype} {list(images.shape)} and labels {list(labels.shape)}; "
            "MNIST is uint8 [N, 28, 28] and [N]."
        )
    if labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{file}: labels from {labels.min()} to {labels.max()}; MNIST has the digits 0 to 9.")
    return images, labels.astype(np.int64)


def write_images(file: Path, images: NDArray[np.uint8]) -> None:
    """Writes images to an array file, whole or not at all."""
    with files.replaced(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, images)


def _rows(split: str, label: NDArray[np.int64], colour: NDArray[np.int64]) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "path": [f"images/{split}.npy#{row}" for row in range(len(label))],
        "split": [split] * len(label),
        "label": np.asarray(DIGITS)[label].tolist(),
        "colour": np.asarray(COLOURS)[colour].tolist(),
    }
    return pl.DataFrame(columns)
