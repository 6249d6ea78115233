"""`logger=tensorboard`: event files in the run's `tensorboard/`, read by `tensorboard --logdir runs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evensight.errors import UserError
from evensight.run import Run
from evensight.training.mirrors.base import Session

MISSING = "logger=tensorboard needs the package tensorboard; install it with: pip install 'evensight[tensorboard]'."


class TensorboardFiles(Session):
    """Writes the figures of each epoch as scalars under their own names, with the epoch as step.

    In the file when the call of an epoch returns. A resumed run writes a further file, which takes back the steps from
    its first epoch on (`purge_step`), so that readers see none twice. Values are stored in 32 bits.
    """

    name = "tensorboard"
    takes_verdicts = True

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._writer: Any = None

    def _begin(self) -> None:
        require()
        from torch.utils.tensorboard import SummaryWriter

        folder = str(self.run.folder / "tensorboard")
        self._writer = SummaryWriter(folder, purge_step=self.next_step)

    def _show(self, figures: Mapping[str, float], epoch: int, step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def _verdicts(self) -> None:
        for path in sorted(self.run.verdicts.glob("*.json")):
            verdict = json.loads(path.read_text(encoding="utf-8"))["verdict"]
            self._writer.add_text(f"{path.stem}/verdict", verdict, self.next_step)

    def _close(self, exit_code: int) -> None:
        self._writer.close()


def require() -> None:
    """Raises a sentence that names the package where it is not installed.

    Raises:
        UserError: If it is missing.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise UserError(MISSING) from None
