"""The donors: training images drawn once before fit, and used in fit, verdicts and artifact alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight.cues.base import Cue

MOST_DONORS = 2048
MOST_BYTES = 64 * 2**20
# Features are compared as whole multiples of this: integer sums come out the same in any order.
FEATURE_STEPS = 2**12


@dataclass(frozen=True)
class DonorBank:
    """Training images that lend their cue.

    Attributes:
        images: uint8 `[M, 3, S, S]`, preprocessed.
        labels: int64 `[M]`.
        rows: int64 `[M]`, rows of the manifest.
        extra: What the cues need of the donors (`mask`, `box`, `size`), each `[M, ...]`.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    _described: dict[tuple[str, int], tuple[Tensor, Scale]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.labels.size(0))

    @cached_property
    def by_label(self) -> NDArray[np.int64]:
        """The positions ordered by label, int64 `[M]`."""
        order: NDArray[np.int64] = np.argsort(self.labels.cpu().numpy(), kind="stable")
        return order

    def state(self) -> dict[str, Tensor]:
        """Returns the bank as contiguous tensors on the CPU, ready for safetensors."""
        tensors = {"images": self.images, "labels": self.labels, "rows": self.rows}
        tensors |= {f"extra.{name}": value for name, value in self.extra.items()}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> DonorBank:
        """Returns the bank that `state` was taken of; other tensors in it are left alone."""
        extra = {name.removeprefix("extra."): value for name, value in state.items() if name.startswith("extra.")}
        return cls(state["images"], state["labels"].long(), state["rows"].long(), extra)


def draw_bank(
    labels: NDArray[np.int64], num_classes: int, per_class: int, seed: int, image_bytes: int
) -> NDArray[np.int64]:
    """Draws the positions of the donors among the training images, stratified by class.

    Args:
        labels: int64 `[N]`, of the training images.
        num_classes: K.
        per_class: Most images of a class; fewer where the bank would pass 2,048 images or 64 MiB.
        seed: The reliance seed. The draw is the same on any version of any library.
        image_bytes: Bytes of one preprocessed image, `3 * S * S`.

    Returns:
        int64 `[M]`, ascending within each class, class after class.
    """
    most = max(2, min(MOST_DONORS, MOST_BYTES // max(1, image_bytes)))
    classes = np.arange(num_classes)
    if num_classes > most:
        classes = np.sort(_shuffled(num_classes, f"classes:{seed}")[:most])
    each = min(per_class, most // len(classes))
    chosen = []
    for k in classes:
        positions = np.flatnonzero(np.asarray(labels) == k)
        chosen.append(np.sort(positions[_shuffled(len(positions), f"class:{seed}:{k}")[:each]]))
    return np.concatenate(chosen).astype(np.int64)


@dataclass(frozen=True)
class Scale:
    """What makes the features of a cue comparable: mean and spread over the donors, float64 `[F]`."""

    mean: Tensor
    spread: Tensor

    def steps(self, features: Tensor) -> Tensor:
        """Returns standardised features in whole steps, int64 `[N, F]`."""
        return ((features.double() - self.mean) / self.spread * 256.0).round().clamp(-1e6, 1e6).long()


def described(bank: DonorBank, cue: Cue) -> tuple[Tensor, Scale]:
    """Returns the donors' features in whole steps, int64 `[M, F]`, and the scale they are compared on.

    Computed once for each cue of a bank: images are often measured batch by batch.
    """
    key = (cue.name, cue.version)
    if key not in bank._described:
        bank._described[key] = _describe(bank, cue)
    return bank._described[key]


def _describe(bank: DonorBank, cue: Cue, batch_size: int = 256) -> tuple[Tensor, Scale]:
    parts = []
    for start in range(0, len(bank), batch_size):
        chosen = slice(start, start + batch_size)
        parts.append(cue.describe(bank.images[chosen], {name: x[chosen] for name, x in bank.extra.items()}))
    features = torch.cat(parts)
    # Sums of whole numbers: exact, where a float mean would depend on the number of threads.
    whole = (features.double() * FEATURE_STEPS).round().long()
    count = float(max(1, len(bank)))
    mean = whole.sum(dim=0).double() / count
    variance = (whole * whole).sum(dim=0).double() / count - mean * mean
    spread = variance.clamp(min=0.0).sqrt()
    spread = torch.where(spread > 1.0, spread, torch.full_like(spread, float(FEATURE_STEPS)))
    scale = Scale(mean / FEATURE_STEPS, spread / FEATURE_STEPS)
    return scale.steps(features), scale


def _shuffled(count: int, key: str) -> NDArray[np.int64]:
    stream = hashlib.shake_256(f"evensight donors {key}".encode()).digest(8 * count)
    order: NDArray[np.int64] = np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable")
    return order
