"""The centre square of an image, resized to the network's input: the only resize of anything that is evaluated.

Written so that eager, `torch.jit.script` and `torch.export` with dynamic N, H and W give the same bytes: the crop is an
`index_select` (slices and branches specialise under export), sizes are whole-number arithmetic, the resize is one
antialiased `F.interpolate` in float (the uint8 kernel rounds differently and has no CUDA or ONNX form).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PreprocessSpec:
    """What a network wants of an image.

    Attributes:
        size: Side S of the network's input, in pixels.
        crop_ratio: Side of the centre square / short side of the image, in (0, 1].
        mean: Of RGB in [0, 1], subtracted by the network.
        std: Of RGB in [0, 1], by which the network divides.
    """

    size: int
    crop_ratio: float = 1.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


class Preprocess(nn.Module):
    """Crops the centre square and resizes it to S x S.

    Args:
        size: S, at least 1.
        crop_ratio: Side of the square / short side, in (0, 1], kept to four decimals. The side is rounded half up and
            at least 1.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(self, size: int, crop_ratio: float = 1.0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size: {size} is not allowed; at least 1")
        if not 0.0 < crop_ratio <= 1.0:
            raise ValueError(f"crop_ratio: {crop_ratio} is not allowed; above 0 and at most 1")
        self.size = int(size)
        self.parts = max(1, round(crop_ratio * 10_000))  # of 10,000

    def forward(self, image: Tensor) -> Tensor:
        """Takes one image, uint8 `[3, H, W]`, to uint8 `[3, S, S]`."""
        return self.batch(image.unsqueeze(0)).squeeze(0)

    def batch(self, images: Tensor) -> Tensor:
        """Takes images of one size, uint8 `[N, 3, H, W]`, to uint8 `[N, 3, S, S]`."""
        height, width = images.shape[2], images.shape[3]
        side = self.side(height, width)
        square = _square(images, (height - side) // 2, (width - side) // 2, side)
        return resize(square, self.size)

    def side(self, height: int, width: int) -> int:
        """Returns the side of the centre square of an image, in its own pixels."""
        return max((_short(height, width) * self.parts + 5000) // 10000, 1)


def _short(height: int, width: int) -> int:
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return min(height, width)
    # Under export min() is a branch, fixed to the example's orientation, and abs() cannot be written to a file.
    short: int = torch.sym_min(height, width)  # type: ignore[assignment]
    return short


def _square(images: Tensor, top: int, left: int, side: int) -> Tensor:
    steps = torch.arange(side, device=images.device)
    return images.index_select(2, steps + top).index_select(3, steps + left)


def resize(images: Tensor, size: int) -> Tensor:
    """Resizes uint8 `[N, C, H, W]` to `[N, C, size, size]`: antialiased bilinear, in float, rounded half to even."""
    resized = F.interpolate(images.float(), size=[size, size], mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)
