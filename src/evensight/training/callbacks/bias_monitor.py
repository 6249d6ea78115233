"""Accuracy of every class, group and cell after each validation epoch."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
from lightning.pytorch import Callback
from numpy.typing import NDArray

from evensight.objective.evidence import Evidence
from evensight.objective.objective import Objective
from evensight.training.figures import figures, parts_behind
from evensight.training.record import Record
from evensight.training.requirements import Standing, evidence_of_counts, out_of_reach, standing
from evensight.training.task import SingleLabel

if TYPE_CHECKING:
    from evensight.training.callbacks.reliance_monitor import RelianceMonitor

log = logging.getLogger(__name__)


class BiasMonitor(Callback):
    """Counts decisions by class and group in validation, and logs every figure of them.

    Runs at each validation batch (one scatter, about the cost of an argmax, no wait for the device) and at the end of
    each validation epoch (12 ms for the 8 classes and 3 attributes of shapes). Works in any Lightning project:
    `validation_step` returns a mapping with `preds` int `[B]` (or `logits` `[B, K]`), and the batch is a mapping with
    `label` `[B]` and, where there are any, `attributes` `[B, A]` (-1 unknown) and `weight` `[B]` (0 is not counted).

    It logs `val/accuracy`, `val/recall/<class>`, `val/precision/<class>`, `val/f1/<class>`, `val/worst_class_recall`
    and for each attribute `val/group_accuracy/<attribute>/<level>`, `val/worst_group_accuracy/<attribute>`,
    `val/gap/<attribute>`, `val/worst_cell_accuracy/<attribute>`, `val/conflicting_accuracy/<attribute>`; with an
    objective also `val/primary` and `val/requirements_met`. A warning names a class or group the first time it is
    significantly behind the rest, and, in the second half of the fit, a requirement whose bound the figures deny.

    Args:
        classes: K names.
        levels: Attribute to its level names, in the order of the columns of `attributes`.
        usual: Attribute to the usual level of each class `[K]`; without it there is no conflicting accuracy.
        confidence: Of the intervals, two-sided; what it leaves is the level of the warnings, over the whole fit.
        objective: Resolved; adds the last two figures and ranks epochs.
        class_counts: Training images of each class: lets the objective's `advantage` over the largest class be seen.
        reliance: A callback that comes before this one and measures reliance after every epoch: `standing` counts the
            objective's bounds on it too.
        steered: Cue to the bound on reliance that `focus=auto` steers by; epochs that hold it rank before all others.

    Attributes:
        record: Figures of the last validation epoch, with intervals and floors.
        standing: How it stands against the objective; None without one.
    """

    def __init__(
        self,
        classes: Sequence[str],
        levels: Mapping[str, Sequence[str]] | None = None,
        usual: Mapping[str, Sequence[int]] | None = None,
        confidence: float = 0.95,
        objective: Objective | None = None,
        class_counts: Sequence[int] | None = None,
        reliance: RelianceMonitor | None = None,
        steered: Mapping[str, float] | None = None,
    ) -> None:
        self.classes, self.levels, self.usual = tuple(classes), dict(levels or {}), dict(usual or {})
        self.confidence, self.objective, self.class_counts = confidence, objective, class_counts
        self.reliance, self.steered = reliance, dict(steered or {})
        self.confusion = SingleLabel(classes).counts({name: len(values) for name, values in self.levels.items()})
        self.record = Record()
        self.standing: Standing | None = None
        self._said: set[str] = set()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forgets the figures of the epoch before, which this one may not measure again."""
        self.record = Record()

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Empties the counts."""
        self.confusion.to(pl_module.device)
        self.confusion.reset()

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts a batch."""
        preds = outputs["preds"] if "preds" in outputs else outputs["logits"].argmax(dim=-1)
        self.confusion.update(preds, batch["label"], batch.get("attributes"), batch.get("weight"))

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Turns the counts of all ranks into figures, logs them and warns."""
        counts = {name: table.cpu().numpy() for name, table in self.confusion.compute().items()}
        overall = counts.pop("overall")
        self.record = figures(overall, counts, self.classes, self.levels, self.usual, self.confidence)
        evidence = evidence_of_counts(overall, counts, self.usual, self.class_counts)
        if self.objective is not None:
            reliance = None if self.reliance is None else self.reliance.record
            self.standing = standing(self.objective, evidence, reliance, self.steered)
            self.record.add("val/requirements_met", self.standing.num_met)
            if self.standing.primary is not None:
                self.record.add("val/primary", self.standing.primary)
        if trainer.sanity_checking:
            return
        pl_module.log_dict(self.record.metrics)
        if trainer.is_global_zero:
            self._warn(trainer, overall, counts, evidence)

    def state_dict(self) -> dict[str, Any]:
        """Keeps what has been said, so that a resumed run does not say it again, and what this epoch measured."""
        standing = None if self.standing is None else dataclasses.asdict(self.standing)
        return {"said": sorted(self._said), "record": dataclasses.asdict(self.record), "standing": standing}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them over."""
        standing = state_dict["standing"]
        self._said, self.record = set(state_dict["said"]), Record(**state_dict["record"])
        self.standing = None if standing is None else Standing(**standing)

    def _warn(
        self,
        trainer: lightning.Trainer,
        overall: NDArray[np.int64],
        by_attribute: Mapping[str, NDArray[np.int64]],
        evidence: Evidence,
    ) -> None:
        epochs = max(1, getattr(trainer.lightning_module, "num_epochs", None) or trainer.max_epochs or 1)
        level, epoch = (1 - self.confidence) / epochs, trainer.current_epoch
        behind = parts_behind(overall, by_attribute, self.classes, self.levels, level)
        self._say(f"epoch {epoch + 1}: significantly behind the rest: ", behind)
        # A young model misses every bound: only from half way on does it say something.
        if self.objective is not None and 2 * (epoch + 1) >= epochs:
            denied = out_of_reach(self.objective, evidence, level)
            found = [(f"requirement {one.label}", f"{one.label} (bound {one.bound:g})") for one in denied]
            self._say(f"epoch {epoch + 1}: out of reach on validation: ", found)

    def _say(self, opening: str, found: Sequence[tuple[str, str]]) -> None:
        """Says, in one line, what has not been said before."""
        new = [(key, sentence) for key, sentence in found if key not in self._said]
        if new:
            self._said.update(key for key, _ in new)
            log.warning(opening + "; ".join(sentence for _, sentence in new))
