"""What a wrong configuration is made of, and where it is tried out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from evensight.run import Run

SMALL = (
    *("experiment=folder", "data.root={place}/photos", "datasets_dir={place}/datasets", "data.sealed=false"),
    *("model=mlp", "model.size=8", "trainer=cpu", "trainer.max_epochs=1", "trainer.num_threads=1"),
    *("data.batch_size=8", "data.num_workers=0"),
)
# What a command that ends with a mistake may leave in a run that is there: that it was tried, when, by whom.
LEFT = ("run.log", "run.lock", "environment.json")


@dataclass(frozen=True)
class Wrong:
    """A command line with one mistake.

    Attributes:
        argv: With `{place}` for the place below.
        parts: What the sentence must hold.
        make: Makes the files that the command is about, in the working folder.
    """

    argv: tuple[str, ...]
    parts: tuple[str, ...] = ()
    make: Callable[[Path, Place], object] | None = None

    def says(self, *parts: str) -> Wrong:
        return dataclasses.replace(self, parts=parts)

    def given(self, make: Callable[[Path, Place], object]) -> Wrong:
        return dataclasses.replace(self, make=make)


@dataclass(frozen=True)
class Place:
    """Photographs, their data set and a finished run of them; not to be written to."""

    folder: Path

    @property
    def run(self) -> Run:
        return Run.open(self.folder / "runs" / "folder" / "latest")

    def filled(self, argv: tuple[str, ...]) -> list[str]:
        return [argument.replace("{place}", str(self.folder)) for argument in argv]


def train(*overrides: str) -> Wrong:
    return Wrong(("train", *SMALL, *overrides))


def objective(*overrides: str) -> Wrong:
    return Wrong(("objective", *SMALL, *overrides))


def requirement(stated: str, *overrides: str) -> Wrong:
    return objective(*overrides, f"objective.requirements=[{{{stated}}}]")


def draw_photos(folder: Path) -> None:
    """Draws cats (a red square) and dogs (a blue one): 8, 4 and 4 of each in the three splits."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        for name, colour in (("cat", (200, 40, 40)), ("dog", (40, 40, 200))):
            below = folder / split / name
            below.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 60, (16, 16, 3)).astype(np.uint8)
                pixels[4:12, 4:12] = colour
                Image.fromarray(pixels).save(below / f"{number}.png")


def tree(folder: Path) -> dict[str, str]:
    """Returns what lies in a folder and below: the digest of each file's bytes, nothing for a folder."""
    paths = [path for path in folder.rglob("*") if path.name not in LEFT]
    found = {path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths}
    return {str(path.relative_to(folder)): digest for path, digest in found.items()}
