"""Small images and objectives for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from evensight.data.manifest import Manifest
from evensight.data.prepare import prepare
from evensight.data.readers.table import TableReader
from evensight.data.reading import silent
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


@pytest.fixture
def prepared(tmp_path: Path, make_objective: Callable[..., Objective]) -> Callable[..., Manifest]:
    """Prepares images of random pixels, all but four of them of the training split.

    Every fifth colour is unknown. With `masks`, the left half of each image is the object, and its box.
    """

    def make(num: int = 24, height: int = 16, width: int = 16, masks: bool = False, broken: tuple[int, ...] = ()):
        folder = tmp_path / f"data_{num}_{height}_{width}_{masks}"
        folder.mkdir(exist_ok=True)
        rows = []
        for i in range(num):
            Image.fromarray(pixels_of(i, height, width)).save(folder / f"{i}.png")
            if i in broken:
                (folder / f"{i}.png").write_bytes(b"no image")
            split = {num - 1: "test", num - 2: "test", num - 3: "validation", num - 4: "validation"}.get(i, "train")
            colour = None if i % 5 == 4 else ("red", "green")[i % 2]
            row = {"path": f"{i}.png", "label": "abc"[i % 3], "split": split, "colour": colour}
            if masks:
                mask = np.zeros((height, width), np.uint8)
                mask[:, : width // 2] = 1
                Image.fromarray(mask).save(folder / f"mask_{i}.png")
                row |= {"mask": f"mask_{i}.png", "box_x0": 0, "box_y0": 0, "box_x1": width // 2, "box_y1": height}
            rows.append(row)
        pl.DataFrame(rows).write_csv(tmp_path / f"{folder.name}.csv")
        reader = TableReader(name=folder.name, table=str(tmp_path / f"{folder.name}.csv"), root=str(folder))
        objective = make_objective(attributes={"colour": {"levels": "from_data"}})
        return prepare(reader, objective, tmp_path / "datasets", silent)[0]

    return make
