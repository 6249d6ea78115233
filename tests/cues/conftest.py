"""Drawn images for the cue tests: coloured shapes on grey ground, shapes of the data set, random textures."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from evensight.data.datasets import draws, shapes_draw

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


@dataclass(frozen=True)
class Drawn:
    """Images of the shapes data set with what is on them."""

    images: Tensor  # uint8 [N, 3, 64, 64]
    mask: Tensor  # uint8 [N, 1, 64, 64]
    shape: Tensor  # 0 to 7
    colour: Tensor  # 0 to 7
    background: Tensor  # 0 to 2

    @property
    def extra(self) -> dict[str, Tensor]:
        """What a cue may need of these images."""
        size = torch.tensor([[480, 640], [640, 480], [64, 64], [375, 500]]).repeat(len(self.images) // 4 + 1, 1)
        return {"mask": self.mask, "size": size[: len(self.images)]}


def draw_scenes(num: int, seed: int, palette: str = "even", tied: bool = False) -> Drawn:
    """Draws images of the shapes data set; the colour is the shape's own where `tied`."""
    rng = np.random.default_rng(seed)
    shape, size = rng.integers(0, 8, num), rng.integers(0, 3, num)
    colour = shape if tied else rng.integers(0, 8, num)
    background = rng.integers(0, 3, num)
    plan = shapes_draw.plan(draws.keys(seed, np.arange(num)), shape, colour, background, size, palette)
    images, mask = shapes_draw.draw(plan)
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return Drawn(pixels, torch.from_numpy(mask[:, None]), *map(torch.from_numpy, (shape, colour, background)))


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """Returns 64 images of the shapes data set, colours independent of shapes."""
    return draw_scenes(64, 7)


@pytest.fixture(scope="session")
def woven() -> Tensor:
    """Returns 48 images full of noise, each of its own narrow band of frequencies, contrast and level."""
    rng = np.random.default_rng(3)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None, :])
    images = np.empty((48, 64, 64), np.uint8)
    for image in images:
        middle, width = rng.uniform(0.03, 0.45), rng.uniform(0.02, 0.1)
        spectrum = np.fft.fft2(rng.normal(size=(64, 64))) * np.exp(-(((frequency - middle) / width) ** 2))
        noise = np.fft.ifft2(spectrum).real
        image[:] = np.clip(noise / noise.std() * rng.uniform(6, 20) + rng.uniform(90, 160), 0, 255).round()
    return torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1)
