"""The network: take cues away, normalise, backbone, head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from evensight.cues import Cue


class Network(nn.Module):
    """Maps uint8 pixels to logits.

    Args:
        backbone: Maps float `[B, 3, S, S]` to `[B, D]`.
        num_features: D.
        num_classes: C.
        mean: Of RGB in [0, 1].
        std: Of RGB in [0, 1].
        drop_rate: Dropout of the embedding before the head.
        removed: Cues that are taken away from every image before anything else (`focus.by=[remove]`), in training and
            in every exported form: the network cannot see them.

    Attributes:
        backbone: As given.
        head: The linear layer `[B, D]` to `[B, C]`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_features: int,
        num_classes: int,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        drop_rate: float = 0.0,
        removed: Sequence[Cue] = (),
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.num_classes = num_classes
        self.removed = nn.ModuleList(removed)
        self.backbone = backbone
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Linear(num_features, num_classes)
        self.scale: Tensor
        self.shift: Tensor
        # (x / 255 - mean) / std as one multiplication and one addition.
        deviation = torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1)
        self.register_buffer("scale", (1 / (255 * deviation)).float())
        self.register_buffer("shift", (-torch.tensor(mean, dtype=torch.float64).view(1, 3, 1, 1) / deviation).float())

    def forward(self, images: Tensor) -> Tensor:
        """Maps uint8 `[B, 3, S, S]` to logits `[B, C]`."""
        return self.forward_features(images)[0]

    @torch.jit.export
    def forward_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Maps uint8 `[B, 3, S, S]` to logits `[B, C]` and the embedding `[B, D]` they come from."""
        embedding = self.embed(images)
        logits: Tensor = self.head(self.drop(embedding))
        return logits, embedding

    @torch.jit.export
    def embed(self, images: Tensor) -> Tensor:
        """Maps uint8 `[B, 3, S, S]` to the embedding `[B, D]`, before dropout."""
        embedding: Tensor = self.backbone(self.seen(images).float() * self.scale + self.shift)
        return embedding

    @torch.jit.export
    def seen(self, images: Tensor) -> Tensor:
        """Returns uint8 `[B, 3, S, S]` as the network sees it: without the cues that it removes."""
        extra: dict[str, Tensor] = {}
        for cue in self.removed:
            images = cue.remove(images, extra)  # type: ignore[operator]
        return images
