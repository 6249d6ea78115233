"""`metrics.jsonl`: a line an epoch, complete without any service."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
from lightning.pytorch import Callback

from evensight.files import append_line, disk_full, full_sentence, write_text
from evensight.training.record import Record

if TYPE_CHECKING:
    from evensight.training.mirrors.base import Mirror

log = logging.getLogger(__name__)


class MetricsFile(Callback):
    """Collects the `record` of the module and of every callback that has one, and writes them.

    Runs at the end of an epoch; costs a line of a few kilobytes, on rank 0. What other callbacks log by
    `pl_module.log` is written too. A line that there is no room for is kept, and written with the next one.

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
        self._unwritten: list[dict[str, Any]] = []
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
            self._unwritten.append(line)
            self._write()
            if self.mirror is not None:
                self.mirror.log(line)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes what there was no room for."""
        if trainer.is_global_zero:
            self._write()

    def state_dict(self) -> dict[str, Any]:
        """Keeps which names are ours, what is not written yet, and the seconds that this epoch has taken."""
        seconds = time.perf_counter() - self._start
        return {"ours": sorted(self._ours), "unwritten": self._unwritten, "seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them over."""
        written = {line["epoch"] for line in read_lines(self.path)}
        self._ours = set(state_dict["ours"])
        self._unwritten = [line for line in state_dict["unwritten"] if line["epoch"] not in written]
        self._start = time.perf_counter() - state_dict["seconds"]

    def _write(self) -> None:
        try:
            while self._unwritten:
                append_line(self.path, json.dumps(self._unwritten[0], ensure_ascii=False, allow_nan=False))
                del self._unwritten[0]
        except OSError as error:
            why = full_sentence(error) if disk_full(error) else f"{self.path} cannot be written ({error.strerror})"
            log.warning("%s; training goes on, and the line of the epoch will be written later", why)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file, none where there is no file; a last line that was cut short is left out."""
    if not path.is_file():
        return []
    # Whole lines end in a line break, so what follows the last one is empty or was cut short, maybe within a character.
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


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
