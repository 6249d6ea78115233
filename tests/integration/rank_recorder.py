"""A user's own callback: what each rank is shown, and a rank that ends in the middle. See `test_ranks_train.py`."""

from __future__ import annotations

import json
import os
import signal
import zlib
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback


class Recorder(Callback):
    """Appends a line a batch to `<folder>/<rank>.jsonl`.

    Args:
        folder: Of the lines.
        kill: (rank, epoch, batch) after which that rank kills itself.
    """

    def __init__(self, folder: str, kill: list[int] | None = None) -> None:
        self.folder, self.kill = Path(folder), kill

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{trainer.global_rank}.pid").write_text(str(os.getpid()), encoding="utf-8")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        shown = [
            [index, zlib.crc32(image.contiguous().numpy().tobytes())]
            for index, image, weight in zip(batch["index"].tolist(), batch["image"], batch["weight"], strict=True)
            if weight
        ]
        loss = float(outputs["loss"])
        self._write(trainer, kind="train", epoch=trainer.current_epoch, batch=batch_idx, shown=shown, loss=loss)
        if self.kill == [trainer.global_rank, trainer.current_epoch, batch_idx]:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        shown = batch["index"][batch["weight"] > 0].tolist()
        self._write(trainer, kind="validation", epoch=trainer.current_epoch, shown=shown)

    def _write(self, trainer: Any, **line: Any) -> None:
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
