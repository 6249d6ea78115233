"""How far each cue pulls the decisions of the network, every few epochs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from torch import Tensor

from evensight.cues import Cue
from evensight.cues.reliance import DonorBank, measure
from evensight.metrics.paired import tango_interval
from evensight.ranks.group import summed
from evensight.training.classifier import Classifier
from evensight.training.record import Record


def reliance_figures(
    cue: str, counts: Mapping[str, tuple[int, int, int]], confidence: float, prefix: str = "val"
) -> Record:
    """Returns reliance by each operator, and the largest, which counts; intervals are two-sided (Tango's score).

    Args:
        cue: Name of the cue.
        counts: Operator to images that it alone moved to the donor's class, that the placebo alone moved, and all.
        confidence: Of the intervals.
        prefix: First part of every name.
    """
    record, tail = Record(), (1 - confidence) / 2
    for operator, (first, second, n) in counts.items():
        low, high = tango_interval(first, second, n, tail)
        if n:
            record.add(f"{prefix}/reliance/{cue}/{operator}", (first - second) / n, (float(low), float(high), n))
    if record.metrics:
        largest = max(record.metrics, key=record.metrics.__getitem__)
        record.add(f"{prefix}/reliance/{cue}", record.metrics[largest], record.intervals[largest])
    return record


class RelianceMonitor(Callback):
    """Measures reliance on a fixed sample of validation images.

    Runs at the end of a validation epoch, every `every_n_epochs` and after the last; costs two passes of the sample
    for each operator, about 1 s for 1,000 images of 64 x 64 on two cores. Several ranks share the sample: an image's
    draws are keyed by its own bytes, so the counts add up to those of one rank, in a fraction of its time.

    Args:
        cues: With operators; what they need is in `extra` and in the bank.
        bank: The donors.
        images: uint8 `[N, 3, S, S]`, the sample.
        extra: What the cues need of the images, each `[N, ...]`.
        seed: The reliance seed.
        every_n_epochs: 1 measures after every epoch.
        confidence: Of the intervals.
        batch_size: Images a pass.

    Attributes:
        record: Figures of this epoch; empty where nothing was measured.
    """

    def __init__(
        self,
        cues: Sequence[Cue],
        bank: DonorBank,
        images: Tensor,
        extra: Mapping[str, Tensor],
        seed: int,
        every_n_epochs: int,
        confidence: float,
        batch_size: int = 256,
    ) -> None:
        self.cues, self.bank, self.images, self.extra = tuple(cues), bank, images, dict(extra)
        self.seed, self.every_n_epochs = seed, every_n_epochs
        self.confidence, self.batch_size = confidence, batch_size
        self.record = Record()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forgets the figures of the epoch before, which this one may not measure again."""
        self.record = Record()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Measures, where this epoch is one to measure at."""
        done, last = trainer.current_epoch + 1, trainer.max_epochs
        if trainer.sanity_checking or not (done % self.every_n_epochs == 0 or done == last):
            return
        assert isinstance(pl_module, Classifier)
        self.record = self.measured(trainer, pl_module)
        pl_module.log_dict(self.record.metrics)

    def state_dict(self) -> dict[str, Any]:
        """Keeps what this epoch measured."""
        return {"record": dataclasses.asdict(self.record)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it over."""
        self.record = Record(**state_dict["record"])

    @torch.inference_mode()
    def measured(self, trainer: lightning.Trainer, classifier: Classifier) -> Record:
        """Returns the reliance of the network as it is on every cue, on the whole sample; a call on each rank."""
        share = slice(trainer.global_rank, None, trainer.world_size)
        images = self.images[share]

        def predict(images: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                return classifier.task.decide(classifier.network(images.to(classifier.device)))

        predictions = torch.cat([predict(part).cpu() for part in torch.split(images, self.batch_size)])
        record = Record()
        for cue in self.cues:
            extra = {name: self.extra[name][share] for name in cue.needs}
            outcomes = measure(predict, images, predictions, self.bank, cue, self.seed, extra, self.batch_size)
            counts = summed(torch.tensor([outcome.paired() for outcome in outcomes.values()])).tolist()
            record.update(reliance_figures(cue.name, dict(zip(outcomes, counts, strict=True)), self.confidence))
        return record
