"""Fixtures shared by all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
