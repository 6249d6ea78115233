from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import made_artifact
from evensight.records.artifact import Artifact


@pytest.fixture(scope="session")
def made() -> made_artifact.Made:
    """A run with its artifact; not to be written to."""
    return made_artifact.shared()


@pytest.fixture
def copied(made: made_artifact.Made, tmp_path: Path) -> Callable[[], Artifact]:
    """Opens a copy of the artifact that may be written to."""
    shutil.copytree(made.artifact.folder, tmp_path / "artifact")
    shutil.rmtree(tmp_path / "artifact" / "attached", ignore_errors=True)
    return lambda: Artifact.open(tmp_path / "artifact")
