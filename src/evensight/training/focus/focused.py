"""The method around a method: it is trained on images whose ignored cues are those of other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from evensight.cues import build_cues
from evensight.training.focus.consistency import WEIGHT, divergence
from evensight.training.focus.controller import Controller, readings_of
from evensight.training.focus.randomize import noise_columns, randomized
from evensight.training.methods.base import Batch, Method, Phase, Weights, mean_loss

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest
    from evensight.training.focus.settings import Focus
    from evensight.training.training_images import TrainingImages


class Focused(Method):
    """Trains by another method on images that take each ignored cue from another image of their batch.

    With `consistency` each image is seen twice, with cues of two other images, and the two answers are pulled together
    by the Jensen-Shannon divergence (as in AugMix: Hendrycks et al., ICLR 2020), weighted by `consistency.WEIGHT` times
    the strength. An epoch then costs twice the steps of the network.

    Args:
        inner: What trains: its loss, weights, phases and repair are used as they are.
        focus: Whose `randomized` cues are taken from other images; with `bounds` a controller sets their strengths.

    Attributes:
        strength: float32 `[number of cues]`, the share of the images that are changed; a buffer.
        controller: Sets it after each epoch; None where it stays as it is.
    """

    def __init__(self, inner: Method, focus: Focus) -> None:
        super().__init__({}, inner.task, inner.facts)
        self.inner = inner
        self.cues = build_cues(focus.randomized)
        self.consistency = "consistency" in focus.by
        self.controller = Controller(focus.bounds) if focus.bounds else None
        self.strength: Tensor
        self.register_buffer("strength", torch.full((len(self.cues),), focus.strength))
        self._columns = noise_columns(self.cues)
        self.noise_size = inner.noise_size + self._columns * (2 if self.consistency else 1)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Returns what the inner method and the cues need besides pixels."""
        return tuple(sorted({*self.inner.needs, *(name for cue in self.cues for name in cue.needs)}))

    def attach(self, build: Callable[[], nn.Module]) -> None:
        """Hands the second network to the inner method."""
        self.inner.attach(build)

    def views(self, batch: Batch) -> list[Tensor]:
        """Returns each view of the inner method with its cues randomized; two of each where they are compared."""
        noise: Tensor = batch["noise"]
        own = noise[:, self.inner.noise_size :]
        parts = torch.split(own, self._columns, dim=1)
        views = self.inner.views({**batch, "noise": noise[:, : self.inner.noise_size]})
        with torch.no_grad():
            return [
                randomized({**batch, "image": view}, self.cues, self.strength, part) for part in parts for view in views
            ]

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Returns the inner method's loss, and that of views that are answered differently."""
        inner_batch = {**batch, "noise": batch["noise"][:, : self.inner.noise_size]}
        if not self.consistency:
            loss = self.inner.loss(model, inner_batch)
        else:
            heard = _Heard(model)
            loss = self.inner.loss(cast(nn.Module, heard), inner_batch)
            half = batch["weight"].size(0) // 2
            apart = divergence(heard.logits)
            # Randomized with strength 0, both views are the image itself.
            loss = loss + WEIGHT * self.strength.max() * mean_loss(apart, batch["weight"][:half])
        if "logits" in inner_batch:
            batch["logits"] = inner_batch["logits"]
        return loss

    def sample_weights(self, manifest: Manifest) -> Weights | None:
        """Returns the inner method's."""
        return self.inner.sample_weights(manifest)

    def phases(self) -> list[Phase]:
        """Returns the inner method's."""
        return self.inner.phases()

    def on_epoch_end(self, measurements: Mapping[str, float]) -> None:
        """Hands the figures on, and lets the controller set the strengths of the next epoch."""
        self.inner.on_epoch_end(measurements)
        if self.controller is None:
            return
        num_epochs = measurements.get("num_epochs")
        self.controller.step(
            int(measurements["epoch"]),
            None if num_epochs is None else int(num_epochs),
            readings_of(measurements, self.controller.bounds),
            measurements.get("val/primary", measurements.get("val/accuracy")),
        )
        strengths = self.controller.strengths
        self.strength.copy_(torch.tensor([strengths[cue.name] for cue in self.cues]))

    def kept(self) -> dict[str, Any]:
        """Returns what the controller and the inner method know, for a checkpoint."""
        controller = None if self.controller is None else self.controller.state_dict()
        return {"inner": self.inner.kept(), "controller": controller}

    def take(self, kept: Mapping[str, Any]) -> None:
        """Takes it over."""
        self.inner.take(kept["inner"])
        if self.controller is not None:
            self.controller.load_state_dict(kept["controller"])

    def repair(self, model: nn.Module, images: TrainingImages) -> bool:
        """Lets the inner method repair."""
        return self.inner.repair(model, images)


class _Heard:
    """A network whose answer to the batch stays at hand, with its gradient."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.logits = torch.zeros(0)

    def __call__(self, images: Tensor) -> Tensor:
        self.logits = self._model(images)
        return self.logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
