"""What a user sees of a fit: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import lightning
from lightning.pytorch import Callback

from evensight.progress import bars, draws, shortened
from evensight.training.callbacks.metrics_file import MetricsFile

log = logging.getLogger(__name__)

# Drawing a bar costs about 2 ms; this often is as often as an eye follows.
_SECONDS_BETWEEN = 0.2
# Columns of a name in a line: it is the user's, and may be a sentence.
_LONGEST_NAME = 32


def epoch_line(epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> str:
    """Returns images per second, accuracy, worst class and worst group of an epoch in one line.

    Args:
        epoch: From 0.
        num_epochs: Of the fit; below 1 where it has no number.
        metrics: Figures by their names; what is missing is left out.
    """
    parts = [f"epoch {epoch + 1}/{num_epochs}" if num_epochs > 0 else f"epoch {epoch + 1}"]
    if "train/images_per_second" in metrics:
        parts.append(f"{metrics['train/images_per_second']:,.0f} images/s")
    if "train/loss" in metrics:
        parts.append(f"loss {metrics['train/loss']:.3f}")
    if "val/accuracy" not in metrics and "train/accuracy" in metrics:
        parts.append(f"training accuracy {metrics['train/accuracy']:.3f}")
    parts += standing(metrics)
    if reliance := _of_cues(metrics, "val/reliance/"):
        parts.append(f"reliance on {reliance}")
    return "  ".join(parts)


def cue_line(metrics: Mapping[str, float]) -> str:
    """Returns what cues decide against the label, and accuracy without them, in one line; empty where unmeasured."""
    words = {
        "val/decided_by/": "images that a cue contradicts, decided by",
        "val/accuracy_without/": "accuracy without",
    }
    found = {text: _of_cues(metrics, prefix) for prefix, text in words.items()}
    return "; ".join(f"{text} {values}" for text, values in found.items() if values)


def _of_cues(metrics: Mapping[str, float], prefix: str) -> str:
    """Returns "colour 0.763, texture 0.010": the figures named `prefix` and a cue."""
    found = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return ", ".join(f"{cue} {value:.3f}" for cue, value in found.items() if "/" not in cue)


def standing(metrics: Mapping[str, float], named: bool = True) -> list[str]:
    """Returns accuracy, worst class and worst group in words, those that are known; `named` says which they are."""
    parts = [f"accuracy {metrics['val/accuracy']:.3f}"] if "val/accuracy" in metrics else []
    for prefix, text in (("val/recall/", "worst class"), ("val/group_accuracy/", "worst group")):
        found = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
        if found:
            worst = min(found, key=found.__getitem__)
            which = f" ({shortened(worst.replace('/', '='), _LONGEST_NAME)})" if named else ""
            parts.append(f"{text} {found[worst]:.3f}{which}")
    return parts


def num_epochs(trainer: lightning.Trainer) -> int:
    """Returns the epochs of the whole fit, 0 or -1 where it has no number."""
    return getattr(trainer.lightning_module, "num_epochs", None) or trainer.max_epochs or 0


class Progress(Callback):
    """Shows the fit. Runs at each step (a comparison of times; five drawings a second) and at the end of an epoch.

    Args:
        metrics: Whose record is shown.
    """

    def __init__(self, metrics: MetricsFile) -> None:
        self.metrics = metrics
        self._bar: Any = None
        self._task: Any = None
        self._name = ""
        self._began = self._drawn = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts a bar of this epoch's steps."""
        if not (trainer.is_global_zero and draws()):
            return
        self._bar = bars(auto_refresh=False)
        self._bar.start()
        last, total = num_epochs(trainer), trainer.num_training_batches
        self._name = f"epoch {trainer.current_epoch + 1}" + (f"/{last}" if last > 0 else "")
        self._task = self._bar.add_task(self._name, total=total if math.isfinite(total) else None)
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        if self._bar is not None and time.monotonic() - self._drawn > _SECONDS_BETWEEN:
            self._drawn = time.monotonic()
            speed = (batch_idx + 1) * len(batch["label"]) / (self._drawn - self._began)
            text = "  ".join(
                [self._name, f"{speed:,.0f} images/s", *standing(self.metrics.record.metrics, named=False)]
            )
            self._bar.update(self._task, completed=batch_idx + 1, description=text)
            self._bar.refresh()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the line of the epoch."""
        self._close()
        if trainer.is_global_zero:
            metrics = self.metrics.record.metrics
            log.info(epoch_line(trainer.current_epoch, num_epochs(trainer), metrics))
            if cues := cue_line(metrics):
                log.info("  %s", cues)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Takes the bar away: what validation has to say would be written into it."""
        self._close()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Takes the bar away, so that what is said next can be read."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
