"""Two views of an image should be answered alike (Jensen-Shannon divergence)."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the divergence beside the loss, at strength 1; AugMix (Hendrycks et al., ICLR 2020) has 12 for three views.
WEIGHT = 4.0


def divergence(logits: Tensor) -> Tensor:
    """Returns the Jensen-Shannon divergence, in nats, between the answers to two views of each image.

    Args:
        logits: `[2 B, K]`, the first view of all images, then the second.

    Returns:
        float32 `[B]`, 0 to log 2.
    """
    first, second = torch.log_softmax(logits.float(), dim=1).chunk(2)
    # log of the mean of two probabilities, without leaving the logarithm.
    middle = torch.logsumexp(torch.stack([first, second]), dim=0) - 0.6931471805599453
    to_middle = [(part.exp() * (part - middle)).sum(dim=1) for part in (first, second)]
    return 0.5 * (to_middle[0] + to_middle[1])
