"""Coloured MNIST in environments: a noisy label whose colour agrees with it in training and not in the test split.

Arjovsky, Bottou, Gulrajani, Lopez-Paz: Invariant Risk Minimization (2019); one of the data sets of DomainBed (Gulrajani
and Lopez-Paz: In Search of Lost Domain Generalization, ICLR 2021), there with the environments +90 %, +80 %, -90 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evensight import files
from evensight.data.datasets import draws
from evensight.data.datasets.coloured_mnist import check_held_out, load_both, quantiles, write_images
from evensight.data.reading import SPLITS, Progress, Reader, Reading
from evensight.errors import UserError

CLASSES = ("5-9", "0-4")  # the label before the noise is whether the digit is below 5
COLOURS = ("red", "green")  # the colour that agrees with the class of the same number is the channel that is kept
TEST = "test"  # the environment of the test split


@dataclass
class IrmMnistReader(Reader):
    """Colours MNIST and keeps the images as one array a split under the recipe's folder."""

    name: str = "irm_mnist"  # folder under datasets_dir
    reader: str = "irm_mnist"  # a name of names.READERS
    sealed: bool = False  # public, and its results are published
    root: str | None = (
        None  # folder with train.npz and test.npz; null: mnist/ under EVENSIGHT_DATA, or beside the clone
    )
    label_noise: float = 0.25  # chance that an image's label is the other one, in every split
    # Chance that the colour agrees with the noisy label, of each training environment.
    agreement: list[float] = field(default_factory=lambda: [0.9, 0.8])
    test_agreement: float = 0.1  # the same of the test split
    num_validation: int = 10000  # images held out of the training environments, the same share of every digit
    seed: int = 0  # of labels, colours, environments and of what is held out

    version: ClassVar[int] = 1

    @property
    def environments(self) -> tuple[str, ...]:
        """The names of the training environments, in the order of `agreement`, and that of the test split."""
        return (*(f"env{number + 1}" for number in range(len(self.agreement))), TEST)

    def check(self) -> None:
        """Raises UserError where a setting is out of its range."""
        for key in ("label_noise", "test_agreement"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise UserError(f"data.{key}: {getattr(self, key)} is not between 0 and 1.")
        if not self.agreement or not all(0.0 <= chance <= 1.0 for chance in self.agreement):
            raise UserError(
                f"data.agreement: {list(self.agreement)} is no list of chances; write one number between 0 and 1 for "
                "each training environment, as in data.agreement=[0.9,0.8]."
            )
        check_held_out(self.num_validation, self.seed)

    def read(self, folder: Path, classes: tuple[str, ...] | None, progress: Progress) -> Reading:
        """Colours what is not there yet and lists it; see `Reader.read`.

        Files: ``images/<split>.npy`` uint8 `[N, 28, 28, 3]`, the third channel 0.

        Raises:
            UserError: A setting is out of its range, or MNIST is not there.
        """
        self.check()
        given = load_both(self.root, self.num_validation)
        parts = {split: self._part(split, given[_file(split)][1]) for split in SPLITS}
        done = folder / "drawn.json"  # written last
        if not done.exists():
            total, drawn = sum(len(part["position"]) for part in parts.values()), 0
            for split, part in parts.items():
                images = _coloured(given[_file(split)][0][part["position"]], part["colour"])
                write_images(folder / "images" / f"{split}.npy", images)
                drawn += len(part["position"])
                progress("colouring digits", drawn, total)
            files.write_json(done, {"version": self.version, "images": total})
        rows = [self._rows(split, part) for split, part in parts.items()]
        usual = {"colour": dict(zip(CLASSES, COLOURS, strict=True))}
        return Reading(rows=pl.concat(rows), root=folder, usual=usual)

    def _part(self, split: str, digit: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Returns of a split's images [N] the position in their file, label, colour and environment."""
        word = draws.words(draws.keys(self.seed, SPLITS.index(_file(split)), np.arange(len(digit))), 4)
        position = np.arange(len(digit))
        if split == TEST:
            environment = np.full(len(digit), len(self.agreement))
        else:
            # By rank within each digit, so that splits and environments have every digit alike.
            order = np.argsort(quantiles(word[:, 0], digit), kind="stable")
            part = order[: self.num_validation] if split == "validation" else order[self.num_validation :]
            position = np.sort(part)
            place = quantiles(word[position, 1], digit[position])
            environment = np.floor(place * len(self.agreement)).astype(np.int64)
        label = (digit[position] < 5) ^ draws.chance(word[position, 2], self.label_noise)
        uniform = draws.uniform(word[position, 3])
        agrees = uniform < np.asarray([*self.agreement, self.test_agreement])[environment]
        colour = np.where(agrees, label, ~label)
        columns = {"position": position, "label": label, "colour": colour, "environment": environment}
        return {name: column.astype(np.int64) for name, column in columns.items()}

    def _rows(self, split: str, part: dict[str, NDArray[np.int64]]) -> pl.DataFrame:
        count = len(part["position"])
        columns: dict[str, Any] = {
            "path": [f"images/{split}.npy#{row}" for row in range(count)],
            "split": [split] * count,
            "label": np.asarray(CLASSES)[part["label"]].tolist(),
            "colour": np.asarray(COLOURS)[part["colour"]].tolist(),
            "environment": np.asarray(self.environments)[part["environment"]].tolist(),
        }
        return pl.DataFrame(columns)


def _file(split: str) -> str:
    return "test" if split == TEST else "train"


def _coloured(images: NDArray[np.uint8], colour: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns grey images [N, 28, 28] in the channel of their colour, [N, 28, 28, 3]."""
    coloured = np.zeros((*images.shape, 3), np.uint8)
    coloured[np.arange(len(images)), :, :, colour] = images
    return coloured
