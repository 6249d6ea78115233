"""A data set, a network and a run small enough to know every answer by heart.

Images are 40 x 48 PNG files: a square of pure-ish colour on grey. The network is the mean of each channel and a head
that names the strongest: it decides by colour alone, so `red` is class 0, `green` 1, `blue` 2 whatever the label says.
In training and validation label and colour agree; in the test split each label has two images of each colour.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from evensight.config import AdamW, Config, DataConfig, ErmMethod, NoLogger
from evensight.cues.reliance import DonorBank
from evensight.data.digests import Digests
from evensight.data.manifest import Manifest
from evensight.deploy.export import export
from evensight.models.network import Network
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec

CLASSES = ("circle", "square", "star")
COLOURS = ("red", "green", "blue")
RGB = {"red": (210, 40, 40), "green": (40, 190, 40), "blue": (50, 50, 220)}
SPEC = PreprocessSpec(32, 0.9, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 24, 12, 18


class MeanColour(nn.Module):
    """Maps `[B, 3, S, S]` to the mean of each channel `[B, 3]`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def network(backbone: nn.Module | None = None) -> Network:
    """A network that names the strongest channel."""
    made = Network(backbone or MeanColour(), 3, 3, SPEC.mean, SPEC.std)
    with torch.no_grad():
        made.head.weight.copy_(torch.eye(3) * 4)
        made.head.bias.zero_()
    return made.eval()


def draw(number: int, colour: str) -> NDArray[np.uint8]:
    """Draws image `number` in a colour: the ground and the place of the square depend on the number alone."""
    generator = np.random.default_rng(number)
    pixels = np.repeat(generator.integers(90, 130, (40, 48, 1)), 3, axis=2).astype(np.uint8)
    top, left = generator.integers(6, 12), generator.integers(10, 16)
    pixels[top : top + 20, left : left + 20] = RGB[colour]
    return pixels


@dataclass
class Painter(DataConfig):
    """A reader that can redraw."""

    name: str = "made"
    reader: str = "folder"
    sealed: bool = False
    eval_batch_size: int = 8
    num_workers: int = 0

    def redraw(self, row: dict[str, Any], attribute: str, level: str) -> NDArray[np.uint8]:
        assert attribute == "colour"
        return draw(int(Path(row["path"]).stem), level)


def manifest(folder: Path, broken: int | None = None) -> Manifest:
    """Draws the images into a folder; test image number `broken` is a file that is no image."""
    rows = []
    test = list(itertools.product(CLASSES, COLOURS, range(NUM_TEST // 9)))
    for number in range(NUM_TRAIN + NUM_VALIDATION + NUM_TEST):
        label, colour, split = CLASSES[number % 3], COLOURS[number % 3], "train"
        if number >= NUM_TRAIN:
            split = "validation"
        if number >= NUM_TRAIN + NUM_VALIDATION:
            (label, colour, _), split = test[number - NUM_TRAIN - NUM_VALIDATION], "test"
        path = folder / f"{number}.png"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(number, colour)).save(path)
        known = {"row_id": f"{number}#0", "path": path.name, "label": label, "split": split, "colour": colour}
        rows.append({"index": number, **known, "width": 48, "height": 40, "error": None})
    if broken is not None:
        (folder / f"{NUM_TRAIN + NUM_VALIDATION + broken}.png").write_bytes(b"no image")
    frame = pl.DataFrame(rows, schema_overrides={"error": pl.String})
    digests = Digests("1" * 64, "2" * 64, "3" * 64)
    usual = {"colour": (0, 1, 2)}
    return Manifest("made", folder, folder, frame, CLASSES, {"colour": COLOURS}, usual, digests, False, [])


def objective() -> Objective:
    """Three requirements: one that the network fails, one it passes, one it relies its way into failing."""
    stated = {
        "name": "made",
        "purpose": "to know every answer",
        "classes": list(CLASSES),
        "attributes": {"colour": {"levels": list(COLOURS)}},
        "requirements": [
            {"metric": "accuracy", "bound": 0.95},
            {"metric": "accuracy", "scope": "conflicting", "attribute": "colour", "bound": 0.5},
            {"metric": "reliance", "cue": "colour", "bound": 0.05},
            {"metric": "advantage", "over": ["majority", "colour"], "bound": 0.1},
            {"metric": "artifact_size", "bound": 10_000_000},
        ],
    }
    return Objective.from_config(stated)


def config(folder: Path) -> Config:
    """The configuration such a run would have."""
    made = Config(experiment_name="made", data=Painter(), method=ErmMethod(), optimizer=AdamW(), logger=NoLogger())
    made.model.backbone = "small_cnn"
    made.runs_dir = str(folder)
    return made


def bank(images: Manifest) -> DonorBank:
    """All training images as donors."""
    from evensight.data.dataset import ImageDataset

    batch = ImageDataset(images, "train", SPEC, None, 0).batch(0, np.arange(NUM_TRAIN))
    return DonorBank(batch["image"].contiguous(), batch["label"], batch["index"])


@dataclass(frozen=True)
class Made:
    """A run with its artifact."""

    run: Run
    manifest: Manifest
    artifact: Artifact
    config: Config


def make(folder: Path, broken: int | None = None) -> Made:
    """Makes the data, and exports the network into a run folder."""
    images, made = manifest(folder / "images", broken), config(folder)
    run = Run(folder / "run")
    run.folder.mkdir(parents=True)
    written = export(run, network(), SPEC, objective(), images, bank(images), made)
    return Made(run, images, written, made)


@functools.cache
def shared() -> Made:
    """One artifact for all tests that only read it."""
    folder = Path(tempfile.mkdtemp(prefix="made_artifact_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make(folder)
