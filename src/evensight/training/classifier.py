"""The one LightningModule: a network, a task and a method, and the step that joins them.

An epoch, told in order: every step seeds torch from (seed, epoch, batch, rank), asks the method for its views and its
loss, and adds loss and hits to sums on the device; nothing is logged and nothing waits for the device until the epoch
ends. Validation adds up the plain loss of the task. Then callbacks measure, the method hears the figures, and a loss
that is not finite ends the run before a checkpoint can hold it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer

from evensight import names
from evensight.config import ModelConfig
from evensight.cues import build_cues
from evensight.errors import RunError
from evensight.models.backbones import build_network
from evensight.models.network import Network
from evensight.ranks.group import share_of_images
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.compiling import compile_training
from evensight.training.epoch_sums import EpochSums
from evensight.training.focus.focused import Focused
from evensight.training.focus.settings import Focus
from evensight.training.freezing import freeze, frozen
from evensight.training.methods.base import Batch, DataFacts, Method, Phase
from evensight.training.optim import build_optimizer, build_schedule, clip_gradients, scale_learning_rate
from evensight.training.position import position, settle
from evensight.training.record import Record, flat
from evensight.training.task import SingleLabel

_MASK = (1 << 64) - 1


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Returns the seed of a step: 63 bits that differ wherever an argument does (the mixing of splitmix64)."""
    state = seed & _MASK
    for value in (epoch, batch, rank):
        state = (state + 0x9E3779B97F4A7C15 * (value + 1)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def seed_device(seed: int, device: torch.device) -> None:
    """Seeds the generators of the CPU and of one device.

    `torch.manual_seed` seeds those of all kinds of devices: where CUDA has not been started it formats a stack trace
    for each call and keeps it, which costs more than a step of a small network.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def join_views(batch: Batch, views: Sequence[Tensor]) -> Batch:
    """Returns a batch of all views, one after the other; everything else is repeated for each view."""
    if len(views) == 1:
        return {**batch, "image": views[0]}

    def repeated(value: Any) -> Any:
        if isinstance(value, Tensor):
            return torch.cat([value] * len(views))
        return {key: repeated(part) for key, part in value.items()} if isinstance(value, dict) else value

    return {key: torch.cat(list(views)) if key == "image" else repeated(value) for key, value in batch.items()}


class Classifier(lightning.LightningModule):
    """Trains a network by a method. All arguments are plain values, so a checkpoint loads with `weights_only=True`.

    Args:
        model: The `model` section of the configuration.
        classes: Names in the objective's order.
        method: The `method` section.
        optimizer: The `optimizer` section.
        schedule: The `schedule` section.
        facts: The fields of `DataFacts`.
        seed: Of the initial weights and of every step; None leaves torch's generator alone.
        allow_targets: Further packages that `_target_` may name.
        compile: Whether training steps go through `torch.compile`.
        focus: What `Focus.plain` says; None ignores nothing.
    """

    def __init__(
        self,
        model: dict[str, Any],
        classes: list[str],
        method: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any],
        facts: dict[str, Any],
        seed: int | None = None,
        allow_targets: list[str] | None = None,
        compile: bool = False,
        focus: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.seed = seed
        self.task = SingleLabel(classes)
        turned = Focus.from_plain(focus) if focus is not None else Focus()
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)

            def build() -> tuple[Network, PreprocessSpec]:
                return build_network(ModelConfig(**model), self.task.num_outputs, build_cues(turned.removed))

            self.network, self.spec = build()
            options = {key: value for key, value in method.items() if key != "name"}
            kind = names.resolve(names.METHODS, "method.name", method["name"])
            self.method: Method = kind(options, self.task, DataFacts(**facts))
            if turned.randomized:
                self.method = Focused(self.method, turned)
            self.method.attach(lambda: build()[0])
        self.phase = Phase("fit")
        self.num_epochs: int | None = None  # of all phases together; the trainer knows those of one
        self.phase_state: dict[str, Any] = {}  # what a checkpoint keeps of the phase; see phases.py
        self.skips_bad_steps = False  # whether the figures leave out what FiniteGuard skips
        self.lr_scale = 1.0  # of every phase's learning rate, after FiniteGuard went back
        self._sums = EpochSums()
        self._num_images = torch.zeros(())  # of this rank in the step
        self._resumed: dict[str, Any] | None = None  # sums of the epoch that a checkpoint was within

    def setup(self, stage: str) -> None:
        """Has the training steps compiled, where asked; freezes a phase's parts before ranks agree on the gradients."""
        freeze(self, self.phase.trainable)
        # Read by torch's DistributedDataParallel, which copies every other buffer from rank 0 at each step.
        self._ddp_params_and_buffers_to_ignore = [
            f"{place}.{name}"
            for place, part in self.named_modules()
            if isinstance(part, Method)
            for name in part.per_image
        ]
        if stage == "fit" and self.hparams["compile"]:
            compile_training(self.network)

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits `[B, K]` of uint8 images `[B, 3, S, S]`."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the method's loss of a batch."""
        if self.seed is not None:
            seed_device(step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank), self.device)
        batch = join_views(batch, self.method.views(batch))
        loss = self.method.loss(self.network, batch)
        with torch.no_grad():
            n = batch["weight"].sum()
            self._num_images = n
            figures = [loss.detach() * n, n]
            if (logits := batch.get("logits")) is not None:
                hits = self.task.decide(logits) == batch["label"]
                figures += [(hits * batch["weight"]).sum(), n]
            sums = torch.stack([figure.double() for figure in figures])
            if self.skips_bad_steps:
                sums = torch.where(loss.isfinite(), sums, 0.0)
            self._sums.train[: len(figures)] += sums
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Weighs the mean loss of this rank by its share of the step's images, so that each image counts alike."""
        share = share_of_images(self._num_images)
        super().backward(loss if share is None else loss * share, *args, **kwargs)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Adds up the task's own loss, without the method's smoothing or weights, and returns the decisions."""
        logits = self(batch["image"])
        losses = self.task.loss(logits, batch["target"]) * batch["weight"]
        self._sums.validation += torch.stack([losses.sum(), batch["weight"].sum()]).double()
        return {"preds": self.task.decide(logits)}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Builds the optimizer of the current phase over what it trains, and its schedule over its own steps."""
        freeze(self, self.phase.trainable)
        settings, allowed = self.hparams["optimizer"], self.hparams["allow_targets"] or ()
        optimizer = build_optimizer(settings, self.named_parameters(), self._fused, allowed)
        scale_learning_rate(optimizer, self.lr_scale)
        steps = float(self.trainer.estimated_stepping_batches)
        if self.phase.epochs and self.trainer.max_epochs and self.trainer.max_epochs > 0:
            # Lightning counts from the first epoch of the fit; the phase has only its own.
            steps *= self.phase.epochs / self.trainer.max_epochs
        schedule = build_schedule(self.hparams["schedule"], optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips; also for a fused optimizer under bfloat16, which Lightning refuses as if there were a scaler."""
        if gradient_clip_val and self._fused:
            clip_gradients(optimizer, float(gradient_clip_val), gradient_clip_algorithm or "norm")
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    @property
    def _fused(self) -> bool:
        """Whether one kernel may update all weights: it unscales by itself, too late for clipping under a scaler."""
        if self.trainer.gradient_clip_val is None:
            return self.device.type in ("cpu", "cuda")
        return self.device.type == "cuda" and getattr(self.trainer.precision_plugin, "scaler", None) is None

    def on_train_epoch_start(self) -> None:
        """Starts the sums and the clock, and keeps frozen modules (their norms' statistics too) as they are."""
        self._sums = EpochSums(self.device)
        self._keep_frozen()

    def on_train_start(self) -> None:
        """Goes on with the sums and the clock of the epoch that a checkpoint was within."""
        self._keep_frozen()
        if self._resumed is not None:
            self._sums = EpochSums.from_state(self._resumed, self.global_rank, self.trainer.world_size, self.device)
            self._resumed = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps where in the method's phases and in the epoch this is, and the sums of the epoch so far, by rank."""
        where = position(self.trainer)
        settle(checkpoint["loops"], where)
        checkpoint["phase"], checkpoint["position"] = self.phase_state, where
        checkpoint["sums"] = self._sums.state_dict()
        checkpoint["method"] = self.method.kept()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the sums of an epoch that is not over; `on_train_start` goes on with them."""
        self._resumed = checkpoint["sums"] if checkpoint["position"]["batches"] else None
        self.method.take(checkpoint["method"])

    def on_validation_epoch_start(self) -> None:
        """Stops the clock of the training steps and starts the sums."""
        self._sums.begin_validation(self.device)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/loss` for callbacks that monitor it."""
        self.log_dict(self._validation_figures())

    def on_train_epoch_end(self) -> None:
        """Logs the training figures, tells the method, and ends the run if a loss is not finite.

        Raises:
            RunError: If it is not. The checkpoints still hold the epoch before.
        """
        figures = self.record.metrics
        self.log_dict({name: value for name, value in figures.items() if name.startswith("train/")})
        for name in ("train/loss", "val/loss"):
            if not math.isfinite(figures.get(name, 0.0)):
                raise RunError(
                    f"training is not finite: {name} is {figures[name]} in epoch {self.current_epoch + 1}; "
                    "lower optimizer.lr, clip with trainer.gradient_clip_val, or look with trainer.detect_anomaly=true."
                )
        measured = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        watchers: Sequence[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        records = [record for one in watchers if isinstance(record := getattr(one, "record", None), Record)]
        epochs = {"epoch": float(self.current_epoch)}
        if self.num_epochs is not None and self.num_epochs > 0:
            epochs["num_epochs"] = float(self.num_epochs)
        self.method.on_epoch_end({**measured, **flat(records), **figures, **epochs})

    def _keep_frozen(self) -> None:
        if self.phase.trainable != ("*",):
            for module in frozen(self):
                module.eval()

    @property
    def record(self) -> Record:
        """Loss, accuracy, images per second and learning rate of the epoch, over all ranks; to be asked for on each."""
        total, n, hits, decided = self.trainer.strategy.reduce(self._sums.train.clone(), reduce_op="sum").tolist()
        record = Record(self._validation_figures())
        if n:
            record.add("train/loss", total / n)
            record.add("train/images_per_second", n / max(self._sums.seconds, 1e-9))
        if decided:
            record.add("train/accuracy", hits / decided)
        if self.trainer.optimizers:
            record.add("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return record

    def _validation_figures(self) -> dict[str, float]:
        total, n = self.trainer.strategy.reduce(self._sums.validation.clone(), reduce_op="sum").tolist()
        return {"val/loss": total / n} if n else {}


def initial_values(hparams: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the state a classifier of these hyperparameters began with."""
    return Classifier(**dict(hparams)).state_dict()
