"""A probe a cue, from batches of images: what a model that sees this cue alone would say, wherever that is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evensight.cues.base import Cue
from evensight.cues.probe import Probe, fit_probe


@dataclass(frozen=True)
class Described:
    """Images as cues see them.

    Attributes:
        labels: int64 `[N]`.
        features: By cue, float32 `[N, F]`.
    """

    labels: Tensor
    features: Mapping[str, Tensor]


def describe(cue: Cue, images: Tensor, extra: Mapping[str, Tensor]) -> Tensor:
    """Returns what a cue says of images uint8 `[N, 3, S, S]`, float32 `[N, F]`.

    Args:
        cue: Its needs are in `extra`.
        images: In any layout of memory.
        extra: What is known of the images, `[N, ...]` each; may hold more than the cue needs.
    """
    # Batches come channels_last, in which a cue's arithmetic on one channel takes twice as long.
    return cue.describe(images.contiguous(), {name: extra[name] for name in cue.needs})


def described(cues: Sequence[Cue], batch: Mapping[str, Any]) -> Described:
    """Returns what cues say of the images of a batch whose weight is not 0.

    Args:
        cues: Whose needs are in the batch's ``extra``.
        batch: With ``image`` uint8 `[B, 3, S, S]`, ``label`` and ``weight`` `[B]`, and ``extra``.
    """
    known = batch["weight"] > 0
    images = batch["image"][known].contiguous()
    extra = {name: value[known] for name, value in batch["extra"].items()}
    return Described(batch["label"][known], {cue.name: describe(cue, images, extra) for cue in cues})


def joined(parts: Sequence[Described]) -> Described:
    """Returns the images of one part or more, one after the other."""
    features = {name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features}
    return Described(torch.cat([part.labels for part in parts]), features)


def fit_probes(parts: Sequence[Described], num_classes: int, seed: int) -> dict[str, Probe]:
    """Fits a probe to what each cue says of training images; none where there is no part.

    Args:
        parts: Of the same cues.
        num_classes: C.
        seed: Of `fit_probe`.

    Raises:
        ValueError: If the parts have no image.
    """
    if not parts:
        return {}
    images = joined(parts)
    return {name: fit_probe(values, images.labels, num_classes, seed) for name, values in images.features.items()}
