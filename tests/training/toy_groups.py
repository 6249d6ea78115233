"""Thirty-odd images by class and attribute: a cell without an image, cells of one, levels that nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evensight import names
from evensight.data.digests import Digests
from evensight.data.manifest import Manifest
from evensight.training.methods.base import DataFacts, Method, Phase
from evensight.training.methods.facts import data_facts
from evensight.training.task import SingleLabel

CLASSES = ("a", "b", "c")
COLOURS = ("red", "green", "blue", "white")
SIZES = ("small", "large")
# Training images of each class and colour; the last column is of unknown colour.
COUNTS = np.array([[6, 1, 0, 2, 2], [0, 7, 3, 0, 0], [1, 1, 1, 9, 1]])
SIDE = 4


def manifest() -> Manifest:
    """Every row twice as often in between as validation; one training row is broken and one is left out."""
    rows: list[dict[str, Any]] = []
    for label, counts in enumerate(COUNTS):
        for colour, count in enumerate(counts):
            for number in range(count):
                known = COLOURS[colour] if colour < len(COLOURS) else None
                rows.append({"label": CLASSES[label], "colour": known, "size": SIZES[number % 2], "split": "train"})
                rows.append({**rows[-1], "split": "validation"})
    broken = {"label": "a", "colour": "blue", "size": "small", "split": "train", "error": "truncated: cut short"}
    left_out = {"label": "b", "colour": "red", "size": "large", "split": "train"}
    rows = [broken, *rows, left_out]
    given = [{"index": i, "row_id": f"{i}#0", "path": f"{i}.png", "error": None, **row} for i, row in enumerate(rows)]
    frame = pl.DataFrame(given, schema_overrides={"index": pl.Int64, "error": pl.String})
    levels = {"colour": COLOURS, "size": SIZES}
    mask = np.zeros(len(rows), np.bool_)
    mask[-1] = True
    folder = Path("nowhere")
    digests = Digests(*("0" * 64,) * len(Digests.__dataclass_fields__))
    return Manifest(
        "toy", folder, folder, frame, CLASSES, levels, {"colour": (0, 1, 3)}, digests, False, [], left_out=mask
    )


def facts() -> DataFacts:
    return data_facts(manifest())


def method(name: str, **options: Any) -> Method:
    """A method over the toy images, with its second network, if it wants one."""
    kind = names.resolve(names.METHODS, "method.name", name)
    found: Method = kind(options, SingleLabel(CLASSES), facts())
    torch.manual_seed(3)
    found.attach(Tiny)
    return found


class Tiny(nn.Module):
    """A linear classifier of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * SIDE * SIDE, len(CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.head(image.flatten(1).float() / 255)
        return found


class Table(nn.Module):
    """A "network" whose logits are its weights, whatever it is shown: what each image is taught is their gradient."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, image: Tensor) -> Tensor:
        assert image.dtype == torch.uint8 and len(image) == len(self.logits)
        return self.logits


def batch_of(positions: list[int], seed: int = 0) -> dict[str, Any]:
    """The training images at these positions, -1 for padding, as the loader gives them."""
    given = manifest()
    known = np.array(positions) >= 0
    at = np.where(known, positions, 0)
    labels, attributes = given.labels("train")[at], given.attributes("train")[at]
    generator = torch.Generator().manual_seed(seed)
    label = torch.from_numpy(np.where(known, labels, 0))
    index = given.split("train")["index"].to_numpy()[at]
    return {
        "image": torch.randint(0, 256, (len(at), 3, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        "label": label,
        "target": F.one_hot(label, len(CLASSES)).float(),
        "attributes": torch.from_numpy(np.where(known[:, None], attributes, -1)),
        "weight": torch.from_numpy((known & given.trained()[at]).astype(np.float32)),
        "noise": torch.rand((len(at), 3), generator=generator),
        "index": torch.from_numpy(np.where(known, index, -1)),
        "extra": {},
    }


def everything() -> list[int]:
    return list(range(len(manifest().split("train"))))


def begin(method: Method, phase: Phase) -> Any:
    """The sampling weights of a phase, asked for as at its beginning."""
    return (phase.sample_weights or method.sample_weights)(manifest())


def sets_of_images() -> dict[str, list[int]]:
    """Batches of every kind, by name."""
    given = manifest()
    labels, colours = given.labels("train"), given.attributes("train")[:, 0]

    def those(label: int, colour: int) -> list[int]:
        return np.flatnonzero((labels == label) & (colours == colour) & given.trained()).tolist()

    return {
        "all": everything(),
        "one cell": those(1, 1),
        "a cell of one image": those(0, 1),
        "unknown level alone": those(0, -1),
        "two classes of one level": those(1, 1) + those(2, 1),
        "with padding": [*those(0, 0), *those(2, -1), -1, -1],
        "padding alone": [-1, -1],
        "an image three times": those(2, 0) * 3 + those(1, 2),
    }
