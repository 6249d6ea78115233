"""The package, built and installed once."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_package import REPOSITORY, Built, build, environment


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(REPOSITORY, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def programs(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel in it."""
    return environment(tmp_path_factory.mktemp("environments") / "installed", built.wheel)
