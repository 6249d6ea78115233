"""Networks for images of up to about 64 pixels, which train in a minute on two CPU cores.

A backbone of our own takes the side of its input and its keyword arguments, maps float `[B, 3, S, S]` to `[B, D]`, and
has `num_features` (D) and `default_size`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Convolutions 3 x 3 with a norm and ReLU, then the mean over the image.

    The first convolutions have stride 2: a layer at full resolution costs more than all others together on a CPU.
    With the defaults and a linear layer of 8 classes: 98,200 parameters.

    Args:
        size: Side of the input, at least 2 to the power of `num_strided`.
        channels: Output channels of each convolution.
        num_strided: How many of them, from the first, halve the side.
        norm: ``batch``, or ``group``: at most 8 groups of channels, whose statistics are each image's own, so that an
            image's output does not depend on what else is in its batch or on which device.

    Raises:
        ValueError: If the sizes do not fit, or there is no such norm.
    """

    default_size = 64

    def __init__(
        self, size: int, channels: Sequence[int] = (16, 32, 64, 64, 64), num_strided: int = 3, norm: str = "batch"
    ) -> None:
        super().__init__()
        if not 0 <= num_strided <= len(channels):
            raise ValueError(f"num_strided: {num_strided} is not allowed; 0 to {len(channels)}, the number of channels")
        if size < 2**num_strided:
            raise ValueError(f"size: {size} is too small for num_strided={num_strided}; at least {2**num_strided}")
        if norm not in ("batch", "group"):
            raise ValueError(f"norm: {norm!r} is not known; allowed: batch, group")
        layers: list[nn.Module] = []
        width = 3
        for i, num_channels in enumerate(channels):
            stride = 2 if i < num_strided else 1
            grouped = nn.GroupNorm(math.gcd(8, num_channels), num_channels) if norm == "group" else None
            layers += [nn.Conv2d(width, num_channels, 3, stride, padding=1, bias=False)]
            layers += [grouped or nn.BatchNorm2d(num_channels), nn.ReLU(inplace=True)]
            width = num_channels
        self.layers = nn.Sequential(*layers)
        self.num_features = width

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, 3, S, S]` to `[B, D]`."""
        out: Tensor = self.layers(x)
        return out.mean(dim=(2, 3))


class MLP(nn.Module):
    """Fully connected layers with ReLU over the flattened image; three of 100 are what papers use on coloured MNIST.

    Args:
        size: Side of the input.
        hidden: Width of each layer.
    """

    default_size = 28

    def __init__(self, size: int, hidden: Sequence[int] = (100, 100, 100)) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("hidden: no layer is named; at least one width")
        widths = [3 * size * size, *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.num_features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, 3, S, S]` to `[B, D]`."""
        out: Tensor = self.layers(torch.flatten(x, 1))
        return out
