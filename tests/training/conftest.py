"""A small shapes data set, drawn once, and fits of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from training_places import SMALL, Fitted, Workplace

from evensight.compose import compose
from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.objective.objective import Objective


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Objective]:
    config = compose([*SMALL])
    objective = Objective.from_config(dataclasses.asdict(config.objective))
    return prepare(config.data, objective, tmp_path_factory.mktemp("datasets"), lambda what, done, total: None)


@pytest.fixture
def place(tmp_path: Path, data: tuple[Manifest, Objective]) -> Workplace:
    return Workplace(tmp_path, *data)


@pytest.fixture(scope="session")
def shared_fit(tmp_path_factory: pytest.TempPathFactory, data: tuple[Manifest, Objective]) -> Fitted:
    """One fit that tests only look at."""
    return Workplace(tmp_path_factory.mktemp("shared"), *data).fit("logger=csv", "reliance.every_n_epochs=2")
