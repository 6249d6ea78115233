"""Small drawn images for the cue tests: coloured shapes on grey, textured ground."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torch import Tensor

SIZE = 32
NUM_CLASSES = 8


def draw_shapes(colours: np.ndarray, shapes: np.ndarray, seed: int, luma: float | None = None) -> Tensor:
    """Draws disks (even shapes) and frames (odd shapes) in one of 8 hues, uint8 [N, 3, 32, 32]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = np.empty((len(colours), 3, SIZE, SIZE), dtype=np.uint8)
    for n, (colour, shape) in enumerate(zip(colours, shapes, strict=True)):
        ground = np.clip(rng.normal(200, 10, (SIZE, SIZE)), 0, 255)
        cx, cy, r = *rng.uniform(11, 20, 2), rng.uniform(6, 10)
        distance = np.hypot(x - cx, y - cy)
        inside = distance < r if shape % 2 == 0 else (distance < r) & (distance > r - 4)
        rgb = np.array(colorsys.hsv_to_rgb(colour / 8, 0.8, 1.0))
        target = rng.uniform(95, 150) if luma is None else luma
        rgb = rgb / (rgb @ [0.299, 0.587, 0.114]) * target
        pixels = np.where(inside, rgb[:, None, None], ground)
        images[n] = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return torch.from_numpy(images)


@pytest.fixture(scope="session")
def coloured() -> tuple[Tensor, Tensor, Tensor]:
    """Returns 96 images with their colours and shapes, both 0 to 7 and independent."""
    rng = np.random.default_rng(0)
    colours, shapes = rng.integers(0, 8, 96), rng.integers(0, 8, 96)
    return draw_shapes(colours, shapes, 1), torch.from_numpy(colours), torch.from_numpy(shapes)
