"""The frame size cue: height and width of the file, before anything was cut or resized. It can only be described."""

from __future__ import annotations

import torch
from torch import Tensor

from evensight.cues.base import Cue


def log2(x: Tensor) -> Tensor:
    """Returns the binary logarithm of float64 1 to 2^24, to 1e-7.

    Of sums, products and quotients alone: `torch.log2` differs in the last bit with the place in a batch.
    """
    powers = torch.full([25], 2.0, dtype=torch.float64, device=x.device).cumprod(dim=0) * 0.5  # 1, 2, 4, ...
    exponent = (x.unsqueeze(-1) >= powers).sum(dim=-1) - 1
    mantissa = x / powers[exponent.clamp(min=0)]  # 1 to 2
    # The series of the inverse hyperbolic tangent; its argument is at most 1/3.
    part = (mantissa - 1.0) / (mantissa + 1.0)
    square = part * part
    total = torch.full_like(x, 1.0 / 13.0)
    for odd in [11, 9, 7, 5, 3, 1]:
        total = total * square + 1.0 / odd
    return exponent.double() + total * part * 2.8853900817779268  # 2 / ln 2


def near_common(aspect: Tensor) -> list[Tensor]:
    """Returns how near log2 aspects are to 9:16, 2:3, 3:4, 1:1, 4:3, 3:2, 16:9: 1, and 0 from 2 % off; `[B]` each."""
    logarithms = [-0.8300750, -0.5849625, -0.4150375, 0.0, 0.4150375, 0.5849625, 0.8300750]
    return [(1.0 - (aspect - common).abs() / 0.03).clamp(min=0.0) for common in logarithms]


def waves(length: Tensor) -> list[Tensor]:
    """Returns triangle waves of whole lengths, two a period, of the periods 4, 16, 64, 256 and 1024; float64 `[B]`.

    Lengths one pixel apart differ by a whole wave of the shortest period and by little of the longest, so a small
    linear probe tells 640 from 641 and 640 from 480 alike.
    """
    rows: list[Tensor] = []
    for period in [4.0, 16.0, 64.0, 256.0, 1024.0]:
        for start in [0.0, 0.25]:
            share = length / period + start
            rows.append((share - share.floor() - 0.5).abs() * 4.0 - 1.0)
    return rows


class FrameSize(Cue):
    """Height and width of the original: exports, cameras and web sites leave their own, and a class may come from one.

    The network never sees the size itself, but what it does to the picture: how sharp it is, how it was cut.
    """

    name = "frame_size"
    version = 1
    needs = ("size",)

    def describe(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns 32 features, float32; all 0 where the size is not known.

        Logarithms of height, width, aspect and area; landscape 1, square 0, portrait -1; how near the aspect is to
        seven common ones; and `waves` of height and width.
        """
        size = extra["size"].double()
        known = (size[:, 0] > 0.0) & (size[:, 1] > 0.0)
        height, width = size[:, 0].clamp(min=1.0), size[:, 1].clamp(min=1.0)
        log_height, log_width = log2(height), log2(width)
        aspect = log_width - log_height
        rows = [(log_height - 9.0) / 3.0, (log_width - 9.0) / 3.0, aspect, (log_height + log_width - 18.0) / 6.0]
        rows.append((width > height).double() - (width < height).double())
        rows += near_common(aspect) + waves(height) + waves(width)
        return (torch.stack(rows, dim=1) * known.unsqueeze(1)).float()

    def reduce(self, image: Tensor, extra: dict[str, Tensor]) -> Tensor:
        """Returns a bright rectangle of the original's aspect on mid-grey, none where the size is not known."""
        size = extra["size"].double()
        longest = size.amax(dim=1).clamp(min=1.0)
        half_height = (size[:, 0] / longest * (image.size(2) * 0.45))[:, None, None]
        half_width = (size[:, 1] / longest * (image.size(3) * 0.45))[:, None, None]
        down = torch.arange(image.size(2), dtype=torch.float64, device=image.device)[:, None] + 0.5
        across = torch.arange(image.size(3), dtype=torch.float64, device=image.device)[None, :] + 0.5
        inside = ((down - image.size(2) * 0.5).abs() <= half_height) & (
            (across - image.size(3) * 0.5).abs() <= half_width
        )
        plane = torch.where(inside, torch.full_like(image[:, 0], 230), torch.full_like(image[:, 0], 128))
        return torch.stack([plane, plane, plane], dim=1)
