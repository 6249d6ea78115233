"""What a training method is: one small module whose hooks the training room calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from evensight.errors import unknown
from evensight.training.task import SingleLabel

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest
    from evensight.training.training_images import TrainingImages

Batch = dict[str, Any]
Weights = NDArray[np.float64]


@dataclass(frozen=True)
class DataFacts:
    """Plain facts of the training data that a method may need before any image is read; kept in the checkpoint."""

    class_counts: list[int]  # training images of each class
    num_images: int  # rows of the whole manifest: the size of a table of per-image state, by `index`
    levels: dict[str, int] = field(default_factory=dict)  # attribute -> number of levels, in the order of the columns
    # Attribute -> training images of each class and level [K][L]; what a class has beyond its row is of unknown level.
    cells: dict[str, list[list[int]]] = field(default_factory=dict)
    default_attribute: str | None = None  # whose levels are the groups, where the method's options name none


@dataclass(frozen=True)
class Phase:
    """A part of a fit with an optimizer and a schedule of its own.

    Patterns are those of `fnmatch` over names of the classifier: `network.backbone.*`, `network.head.*`, `method.*`.
    """

    name: str
    epochs: int | None = None  # None: what `trainer.max_epochs` leaves to it; at most one phase may say so
    trainable: tuple[str, ...] = (
        "*",
    )  # parameters that learn; the others are frozen, their norms keep their statistics
    reset: tuple[str, ...] = ()  # weights that start again from their initial values
    # Sampling weight of each training image [N], asked for when the phase begins; None: the method's `sample_weights`.
    sample_weights: Callable[[Manifest], Weights | None] | None = None


class Method(nn.Module):
    """How a network is trained. Only `loss` must be written; every other hook does nothing by default.

    The training room calls, in this order: `attach(build)` and `phases()` once; for every phase
    `sample_weights(manifest)` (the phase's own, if it has one); for every batch `views(batch)`, then
    `loss(model, batch)`; after every epoch `on_epoch_end(measurements)`; after the last phase, with the best weights,
    `repair(model, images)`.

    The module's own parameters join the optimizer and its buffers the checkpoint, so whatever must survive a resumed
    run is a parameter or a buffer: per-image state is a buffer of `facts.num_images` rows, looked up by
    `batch["index"]`. Where several ranks train, rank 0's buffers are copied to all at each step, but for those in
    `per_image`: such a method writes the same on every rank (`per_image.py`).

    Args:
        options: The method's section of the configuration, less its name.
        task: Loss and decision.
        facts: Of the training data.
    """

    allowed: ClassVar[tuple[str, ...]] = ()  # keys that `options` may have
    noise_size: int = 0  # K of `batch["noise"]` `[B, K]`, drawn per image; an instance may have its own
    per_image: tuple[str, ...] = ()  # its buffers that have a row for each image of the manifest
    needs: ClassVar[tuple[str, ...]] = ()  # of `batch["extra"]`: mask, box, size

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__()
        for key in options:
            if key not in self.allowed:
                raise unknown("method", key, self.allowed)
        self.options = dict(options)
        self.task = task
        self.facts = facts

    def attach(self, build: Callable[[], nn.Module]) -> None:
        """Lets a method that trains a second network keep one as its submodule, before the optimizer is made.

        Args:
            build: Makes a network like the one that is trained, with initial weights of its own.
        """

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the scalar to be minimised.

        Args:
            model: The network: uint8 images `[B, 3, S, S]` to logits `[B, K]`.
            batch: As the loader gives it. A method that leaves its logits in `batch["logits"]` has `train/accuracy`.
        """
        raise NotImplementedError

    def sample_weights(self, manifest: Manifest) -> Weights | None:
        """Returns how often each training image is drawn, relative to the others `[N]`; None draws each once."""
        return None

    def views(self, batch: Batch) -> list[Tensor]:
        """Returns the images to train on, `[B, 3, S, S]` each; several views of one batch are trained on together."""
        return [batch["image"]]

    def phases(self) -> list[Phase]:
        """Returns the parts of the fit, in order."""
        return [Phase("fit")]

    def on_epoch_end(self, measurements: Mapping[str, float]) -> None:
        """Receives the figures of the epoch by their names in `metrics.jsonl`, before the checkpoint is written."""

    def kept(self) -> dict[str, Any]:
        """Returns plain values that a checkpoint keeps beside parameters and buffers; `take` gets them back."""
        return {}

    def take(self, kept: Mapping[str, Any]) -> None:
        """Takes over what `kept` gave when the checkpoint was written."""

    def repair(self, model: nn.Module, images: TrainingImages) -> bool:
        """Changes the best network in place (last-layer methods) and returns whether it did.

        Args:
            model: The network with its best weights, in evaluation mode, on the CPU.
            images: Iterates over the training batches; `images.plain(positions)` gives chosen training images as
                evaluation sees them.
        """
        return False


def mean_loss(losses: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean of `losses` `[B]` over the images whose `weight` `[B]` is not 0; 0 where there are none."""
    return (losses * weight).sum() / weight.sum().clamp(min=1e-8)
