"""A small shapes data set and a fit of it in a second."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from evensight.compose import compose
from evensight.config import Config
from evensight.data.manifest import Manifest
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.training.train import TrainResult, train

SMALL = (
    *("experiment=shapes", "data.num_train=256", "data.num_validation=256", "data.num_test=64", "model.size=24"),
    *("model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "data.batch_size=64", "data.num_workers=0"),
    *("reliance.max_images=32", "reliance.donors_per_class=4", "trainer.max_epochs=2", "trainer=cpu"),
)


@dataclass(frozen=True)
class Fitted:
    config: Config
    run: Run
    manifest: Manifest
    objective: Objective
    result: TrainResult


@dataclass(frozen=True)
class Workplace:
    """Where fits are made, and the data they share."""

    folder: Path
    manifest: Manifest
    objective: Objective

    def config(self, *overrides: str) -> Config:
        return compose([*SMALL, f"runs_dir={self.folder / 'runs'}", *overrides])

    def fit(self, *overrides: str, run: Run | None = None, method: dict[str, object] | None = None) -> Fitted:
        config = self.config(*overrides)
        if method is not None:
            config = dataclasses.replace(config, method=method)
        run = run or Run.create(config)
        result = train(config, run, self.manifest, self.objective)
        return Fitted(config, run, self.manifest, self.objective, result)
