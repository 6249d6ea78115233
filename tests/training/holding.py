"""A callback that holds a fit at a batch until somebody has come and gone: what another process is timed by."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback


class Hold(Callback):
    """Opens a pipe at a batch, which waits for who opens it too, and reads it to its end.

    Args:
        pipe: A named pipe.
        epoch: From 0.
        batch: From 0; held after its step.
    """

    def __init__(self, pipe: str, epoch: int, batch: int) -> None:
        self.pipe, self.at = Path(pipe), (epoch, batch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            with self.pipe.open("rb") as pipe:
                # A signal that comes just before a read that blocks is not heard before it ends: Python's handlers run
                # between its own steps. So it is never one long read.
                while not select.select([pipe], [], [], 0.05)[0]:
                    pass
            os.remove(self.pipe)  # noqa: PTH107  (a resumed run would hold again)
