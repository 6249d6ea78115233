"""What the network does with each cue, every few epochs: how far it pulls, what it decides, what is left without it."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from torch import Tensor

from evensight.cues import Cue
from evensight.cues.reliance import DonorBank, Outcome, Predict, measure
from evensight.ranks.group import summed
from evensight.training.classifier import Classifier
from evensight.training.cue_figures import CueCounts, cue_figures, sentence, wins
from evensight.training.cue_says import Says
from evensight.training.donors import Sample
from evensight.training.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """What is looked at beside reliance itself.

    Attributes:
        closely: Names of the cues that are measured on the whole sample; the others on its `few`.
        says: By cue, what it says of each image of the sample.
        parts: Name of a class or group ("class=circle", "colour=red") to its images of the sample, bool `[N]`.
        levels: By cue, the reliance above which it may be said to win; a cue that is not here is never warned of.
        ignored: The cues that focus turns off already, for the sentence.
    """

    closely: Sequence[str] = ()
    says: Mapping[str, Says] = field(default_factory=dict)
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    ignored: Sequence[str] = ()


class RelianceMonitor(Callback):
    """Measures what the network does with each cue on a fixed sample of validation images; see `cue_figures`.

    Runs at the end of a validation epoch, every `every_n_epochs` and after the last. Reliance costs two passes of the
    images for each of a cue's two or three operators: at 64 x 64 with a small network on two cores 0.8 to 1.8 s a cue
    for 1,000 images and 0.2 to 0.6 s for 256, so 3 s for the five cues of shapes, of which one is named. What cues
    decide is counted from the predictions of the sample, and `remove` is one pass more. Several ranks share the sample:
    an image's draws are keyed by its own bytes, so the counts add up to those of one rank, in a fraction of its time.

    In the first epoch in which a cue wins (`cue_figures.wins`) a warning says so, once for each cue, and names the
    setting that turns it off. Over the whole fit a cue below its level is warned of with a chance of at most 1 -
    `confidence`.

    Args:
        cues: With operators; what they need is in the sample and in the bank.
        bank: The donors.
        sample: The images.
        seed: The reliance seed.
        every_n_epochs: 1 measures after every epoch.
        confidence: Of the intervals.
        watched: What is looked at beside.
        batch_size: Images a pass.

    Attributes:
        record: Figures of this epoch; empty where nothing was measured.
    """

    def __init__(
        self,
        cues: Sequence[Cue],
        bank: DonorBank,
        sample: Sample,
        seed: int,
        every_n_epochs: int,
        confidence: float,
        watched: Watched | None = None,
        batch_size: int = 256,
    ) -> None:
        self.cues, self.bank, self.sample = tuple(cues), bank, sample
        self.seed, self.every_n_epochs = seed, every_n_epochs
        self.confidence, self.batch_size = confidence, batch_size
        self.watched = watched or Watched(closely=[cue.name for cue in cues])
        self.record = Record()
        self._said: set[str] = set()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forgets the figures of the epoch before, which this one may not measure again."""
        self.record = Record()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Measures, where this epoch is one to measure at, and warns."""
        done, last = trainer.current_epoch + 1, trainer.max_epochs
        if trainer.sanity_checking or not (done % self.every_n_epochs == 0 or done == last):
            return
        assert isinstance(pl_module, Classifier)
        counts = self.counts(trainer, pl_module)
        self.record = Record()
        for cue, found in counts.items():
            self.record.update(cue_figures(cue, found, self.confidence))
        pl_module.log_dict(self.record.metrics)
        self._warn(trainer, pl_module, counts)

    def state_dict(self) -> dict[str, Any]:
        """Keeps what this epoch measured, and which cues have been warned of."""
        return {"record": dataclasses.asdict(self.record), "said": sorted(self._said)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them over."""
        self.record, self._said = Record(**state_dict["record"]), set(state_dict["said"])

    @torch.inference_mode()
    def counts(self, trainer: lightning.Trainer, classifier: Classifier) -> dict[str, CueCounts]:
        """Returns what the network as it is does with every cue, on the whole sample; a call on each rank."""
        rows = torch.arange(self.sample.images.size(0))[trainer.global_rank :: trainer.world_size]

        def predict(images: Tensor) -> Tensor:
            with trainer.precision_plugin.forward_context():
                return classifier.task.decide(classifier.network(images.to(classifier.device)))

        predictions = self._passes(predict, self.sample.images[rows])
        few = torch.isin(rows, self.sample.few)
        found = {}
        for cue in self.cues:
            part = torch.ones_like(few) if cue.name in self.watched.closely else few
            moved = self._moved(cue, predict, rows[part], predictions[part])
            found[cue.name] = dataclasses.replace(
                moved,
                decided=self._decided(cue, rows, predictions),
                without=self._without(cue, predict, rows[part]),
            )
        return found

    def _moved(self, cue: Cue, predict: Predict, rows: Tensor, predictions: Tensor) -> CueCounts:
        extra = {name: self.sample.extra[name][rows] for name in cue.needs}
        images = self.sample.images[rows]
        outcomes = measure(predict, images, predictions, self.bank, cue, self.seed, extra, self.batch_size)
        parts = {name: images[rows] for name, images in self.watched.parts.items()}
        local = torch.stack([_paired(outcome, parts) for outcome in outcomes.values()])
        table = [[(int(b), int(c), int(n)) for b, c, n in row] for row in summed(local).tolist()]
        return CueCounts(
            {operator: row[0] for operator, row in zip(outcomes, table, strict=True)},
            {operator: dict(zip(parts, row[1:], strict=True)) for operator, row in zip(outcomes, table, strict=True)},
        )

    def _decided(self, cue: Cue, rows: Tensor, predictions: Tensor) -> tuple[int, int, int] | None:
        if cue.name not in self.watched.says:
            return None
        local = self.watched.says[cue.name].at(rows).counts(predictions, self.sample.labels[rows])
        followed, right, n = summed(torch.tensor(local)).tolist()
        return int(followed), int(right), int(n)

    def _without(self, cue: Cue, predict: Predict, rows: Tensor) -> tuple[int, int] | None:
        if not cue.removable:
            return None

        def removed(images: Tensor) -> Tensor:
            return predict(cue.remove(images, {}))

        hits = self._passes(removed, self.sample.images[rows]) == self.sample.labels[rows]
        right, n = summed(torch.tensor([int(hits.sum()), len(hits)])).tolist()
        return int(right), int(n)

    def _passes(self, predict: Predict, images: Tensor) -> Tensor:
        return torch.cat([predict(part).cpu() for part in torch.split(images, self.batch_size)])

    def _warn(self, trainer: lightning.Trainer, classifier: Classifier, counts: Mapping[str, CueCounts]) -> None:
        """Says, once for each cue, that it wins; every rank keeps what was said."""
        epochs = max(1, classifier.num_epochs or trainer.max_epochs or 1)
        looks = math.ceil(epochs / self.every_n_epochs) + 1
        for cue, found in counts.items():
            # The largest of several operators counts, so each of them is a look.
            tail = (1 - self.confidence) / (looks * max(1, len(found.moved)))
            level = self.watched.levels.get(cue)
            if level is None or cue in self._said or not wins(found, level, tail):
                continue
            self._said.add(cue)
            if trainer.is_global_zero:
                said = sentence(cue, found, self.record, self.watched.ignored)
                log.warning("epoch %d: %s", trainer.current_epoch + 1, said)


def _paired(outcome: Outcome, parts: Mapping[str, Tensor]) -> Tensor:
    """Counts as `Outcome.paired` does, of all images and of each of P parts in one product: int64 `[1 + P, 3]`."""
    first = outcome.moved_transplant & ~outcome.moved_placebo
    second = outcome.moved_placebo & ~outcome.moved_transplant
    everything = torch.ones_like(first)
    masks = torch.stack([everything, *parts.values()]).double()
    return (masks @ torch.stack([first, second, everything], dim=1).double()).long()
