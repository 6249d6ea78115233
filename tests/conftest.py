"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from evensight.records.artifact import Artifact
    from made_artifact import Made

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in cli.py
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; skips where there is none."""
    folder = Path(os.environ.get("EVENSIGHT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "mnist" / "train.npz").is_file():
        pytest.skip(f"no real images at {folder}; set EVENSIGHT_DATA")
    return folder


@pytest.fixture(scope="session")
def made() -> Made:
    """A run with its artifact; not to be written to."""
    import made_artifact

    return made_artifact.shared()


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Callable[[], Artifact]:
    """Opens a copy of the artifact that may be written to."""
    from evensight.records.artifact import Artifact

    shutil.copytree(made.artifact.folder, tmp_path / "artifact")
    shutil.rmtree(tmp_path / "artifact" / "attached", ignore_errors=True)
    return lambda: Artifact.open(tmp_path / "artifact")
