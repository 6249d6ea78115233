"""Mirrors of a run, one file a kind. The run folder is complete without them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from evensight.config import Config, CsvLogger, TensorboardLogger, WandbLogger
from evensight.ranks.world import world
from evensight.run import Run
from evensight.training.mirrors.base import Mirror
from evensight.training.mirrors.csv_table import CsvTable
from evensight.training.mirrors.tensorboard import TensorboardFiles, require
from evensight.training.mirrors.weights_and_biases import WeightsAndBiases


def mirror_of(config: Config, run: Run) -> Mirror | None:
    """Returns the mirror that a configuration asks for, not yet open; None for `logger=none`."""
    match config.logger:
        case CsvLogger():
            return CsvTable(run)
        case TensorboardLogger():
            return TensorboardFiles(run)
        case WandbLogger():
            return WeightsAndBiases(run, config.logger, dataclasses.asdict(config))
    return None


def check_mirror(config: Config) -> None:
    """Says before a run begins what its mirror lacks; later this would be a warning.

    Raises:
        UserError: If a package is missing.
    """
    if isinstance(config.logger, TensorboardLogger):
        require()


@contextlib.contextmanager
def mirrored(config: Config, run: Run) -> Iterator[Mirror | None]:
    """Yields an open mirror, None without one and on ranks that do not lead, and closes it whatever happens."""
    mirror = mirror_of(config, run) if world().leads else None
    if mirror is None:
        yield None
        return
    exit_code = 1
    try:
        mirror.open()
        yield mirror
        exit_code = 0
    finally:
        mirror.close(exit_code)


def mirror_verdicts(config: Config, run: Run) -> None:
    """Shows the verdicts in the run folder, with their tables, where a mirror has a place for them."""
    mirror = mirror_of(config, run)
    if mirror is not None and mirror.takes_verdicts:
        with mirrored(config, run) as opened:
            if opened is not None:
                opened.verdicts()
