"""Images and networks whose every answer is known: a coloured square whose place is the class.

A square stands left, in the middle or right: its class. Its colour is an attribute. One network reads the colour, the
other the place, so what a cue does to either needs no training to be known.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from evensight.cues.reliance import DonorBank
from evensight.training.classifier import Classifier
from evensight.training.donors import Sample

CLASSES = ["left", "middle", "right"]
COLOURS = ["red", "green", "blue"]
RGB = [(210, 40, 40), (40, 190, 40), (50, 50, 220)]
SIZE = 33


def draw(number: int, place: int, colour: int) -> np.ndarray[Any, Any]:
    """A dark, nearly grey ground and a square; uint8 `[3, 33, 33]`."""
    ground = np.random.default_rng(number).integers(25, 35, (1, SIZE, SIZE))
    pixels = np.repeat(ground, 3, axis=0).astype(np.uint8)
    pixels[:, 10:20, 11 * place : 11 * place + 10] = np.array(RGB[colour])[:, None, None]
    return pixels


def images(repeats: int, aligned: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Every place in every colour `repeats` times, or in its own: pixels, classes `[N]`, colours `[N]`."""
    cells = [(k, c) for k, c in itertools.product(range(3), range(3)) if k == c or not aligned] * repeats
    pixels = torch.from_numpy(np.stack([draw(n, *cell) for n, cell in enumerate(cells)]))
    return pixels, *torch.tensor(cells).unbind(dim=1)


def sample(repeats: int, aligned: bool = False, few: int | None = None) -> Sample:
    """As a validation sample, whose attribute is the colour."""
    pixels, labels, colours = images(repeats, aligned)
    return Sample(pixels, labels, colours.unsqueeze(1), {}, torch.arange(len(labels) if few is None else few))


def bank() -> DonorBank:
    """Donors in whose images place and colour go together."""
    pixels, labels, _ = images(6, aligned=True)
    return DonorBank(pixels, labels, torch.arange(len(labels)))


class ByColour(nn.Module):
    """Says the class of the strongest channel, the first where all are alike."""

    def forward(self, image: Tensor) -> Tensor:
        return image.float().mean(dim=(2, 3)).round()


class ByPlace(nn.Module):
    """Says where the image is lightest."""

    def forward(self, image: Tensor) -> Tensor:
        return image.float().mean(dim=(1, 2)).unflatten(1, (3, 11)).mean(dim=2)


def classifier(network: nn.Module) -> Classifier:
    """A classifier that decides by `network`, and logs nowhere."""
    made = Classifier(
        model={"backbone": "small_cnn", "size": SIZE, "kwargs": {"channels": [2], "num_strided": 1}},
        classes=CLASSES,
        method={"name": "erm"},
        optimizer={"name": "sgd", "lr": 0.1},
        schedule={"name": "constant"},
        facts={"class_counts": [6, 6, 6], "num_images": 18, "levels": {"colour": 3}},
    )
    made.network = network  # type: ignore[assignment]
    made.log_dict = lambda metrics: None  # type: ignore[assignment, method-assign]
    return made


def trainer(epoch: int = 0, epochs: int = 4, rank: int = 0, ranks: int = 1) -> Any:
    """What a callback asks of a trainer."""
    return SimpleNamespace(
        current_epoch=epoch,
        max_epochs=epochs,
        sanity_checking=False,
        is_global_zero=rank == 0,
        global_rank=rank,
        world_size=ranks,
        precision_plugin=Precision(),
    )
