"""Small images and objectives for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evensight.objective.objective import Objective


def pixels_of(seed: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def write_png() -> Callable[..., np.ndarray]:
    """Writes an image of random pixels that follow from `seed`, and returns them."""

    def write(path: Path, seed: int, **size: int) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = pixels_of(seed, **size)
        Image.fromarray(pixels).save(path)
        return pixels

    return write


@pytest.fixture
def make_objective() -> Callable[..., Objective]:
    def make(**keys: object) -> Objective:
        requirement = {"metric": "accuracy", "bound": "above_chance"}
        return Objective.from_config({"name": "o", "purpose": "p", "requirements": [requirement], **keys})

    return make
