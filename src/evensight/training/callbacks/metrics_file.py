"""`metrics.jsonl`: a line an epoch, complete without any service."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
from lightning.pytorch import Callback

from evensight.files import write_text
from evensight.training.record import Record

if TYPE_CHECKING:
    from evensight.training.mirrors.base import Mirror


class MetricsFile(Callback):
    """Collects the `record` of the module and of every callback that has one, and writes them.

    Runs at the end of an epoch; costs a line of a few kilobytes, on rank 0. What other callbacks log by
    `pl_module.log` is written too.

    Args:
        path: The file; a line is added.
        mirror: Gets the same lines.

    Attributes:
        record: All figures of the epoch that ended last.
    """

    def __init__(self, path: Path, mirror: Mirror | None = None) -> None:
        self.path, self.mirror = path, mirror
        self.record = Record()
        self._ours: set[str] = set()
        self._start = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Adds the line."""
        record = Record()
        others: Sequence[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for source in (pl_module, *others):
            part = getattr(source, "record", None)
            if source is not self and isinstance(part, Record):
                record.update(part)
        # Lightning keeps logged values for good: one of ours that this epoch did not measure must not come back.
        self._ours.update(record.metrics)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name not in self._ours}
        record.metrics.update(logged)
        self.record = record
        if trainer.is_global_zero:
            seconds = round(time.perf_counter() - self._start, 3)
            epoch, step = trainer.current_epoch, trainer.global_step
            line = {"epoch": epoch, "step": step, "seconds": seconds, **record.to_json()}
            append_line(self.path, line)
            if self.mirror is not None:
                self.mirror.log(line)


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Adds a line of JSON in one write, on the disk when this returns."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file, none where there is no file; a last line that was cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    # Whole lines end in a line break, so what follows the last one is empty or was cut short.
    return [json.loads(line) for line in lines[:-1]]


def cut_back(path: Path, epochs: int) -> None:
    """Keeps the lines of the first `epochs` epochs: those a checkpoint knows of."""
    if path.is_file():
        kept = [line for line in read_lines(path) if line["epoch"] < epochs]
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def as_csv(lines: Sequence[dict[str, Any]]) -> str:
    """Returns a table with a row an epoch and a column a figure, empty where it was not measured."""
    names = list(dict.fromkeys(name for line in lines for name in line["metrics"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "step", "seconds", *names])
    for line in lines:
        writer.writerow([line["epoch"], line["step"], line["seconds"], *(line["metrics"].get(name) for name in names)])
    return text.getvalue()
