"""What methods have in common that fit the network, and then its last layer anew on images that were held back."""

from __future__ import annotations

import abc
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from evensight.data.digests import content_keys
from evensight.errors import RunError
from evensight.training.methods.base import Batch, DataFacts, Weights
from evensight.training.methods.erm import ERM
from evensight.training.methods.linear_head import Array, Head
from evensight.training.task import SingleLabel

if TYPE_CHECKING:
    from evensight.data.manifest import Manifest
    from evensight.models.network import Network
    from evensight.training.training_images import TrainingImages

log = logging.getLogger(__name__)

HELD_BACK = 0.2


@dataclass(frozen=True)
class Embedded:
    """Images as the last layer sees them; those of weight 0 are left out.

    Attributes:
        features: `[N, D]`.
        target: `[N, K]`.
        label: `[N]`.
        attributes: Level of each attribute `[N, A]`, -1 where unknown.
    """

    features: Array
    target: Array
    label: NDArray[np.int64]
    attributes: NDArray[np.int64]


class LastLayer(ERM, abc.ABC):
    """Fits the network by empirical risk minimisation on most images, then its last layer on the others.

    Options of its own: `held_back`, the share of the training images that only the last layer sees, the same share of
    each stratum; 0 holds none back, and the last layer is fitted on those that the network was. It is fitted to
    its optimum, on whole arrays: no fit has an image twice, and what is to count more has a weight.
    """

    allowed = (*ERM.allowed, "held_back")

    def __init__(self, options: Mapping[str, Any], task: SingleLabel, facts: DataFacts) -> None:
        super().__init__(options, task, facts)
        self.held_back = float(options.get("held_back", HELD_BACK))

    @abc.abstractmethod
    def solve(self, images: Embedded, head: Head) -> Head:
        """Returns the last layer that is to take the place of `head`."""

    def strata(self, manifest: Manifest) -> NDArray[np.int64]:
        """Returns the stratum of each training image `[N]`, of which the same share is held back: its class."""
        return manifest.labels("train")

    def parts(self, manifest: Manifest) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns which training images the network sees and which the last layer is fitted on, `[N]` each."""
        trained = manifest.trained()
        if not self.held_back:
            return trained, trained
        contents = content_keys(manifest.split("train")["row_id"]).to_list()
        return parted(contents, self.strata(manifest), trained, self.held_back)

    def sample_weights(self, manifest: Manifest) -> Weights | None:
        """Returns 1 for an image that the network sees, 0 for one that is held back `[N]`."""
        return self.parts(manifest)[0].astype(np.float64) if self.held_back else None

    def repair(self, model: nn.Module, images: TrainingImages) -> bool:
        """Fits the last layer on what was held back."""
        self.refit(model, images, np.flatnonzero(self.parts(images.manifest)[1]))
        return True

    def refit(self, model: nn.Module, images: TrainingImages, positions: NDArray[np.int64]) -> None:
        """Fits the last layer on chosen training images, in place.

        Args:
            model: In evaluation mode; where it is, images are sent.
            images: The training images.
            positions: Among them `[N]`.

        Raises:
            RunError: If features are not finite.
        """
        network = cast("Network", model)
        embedded = embed(network, images.plain(positions))
        before = Head(*(part.detach().double().cpu().numpy() for part in (network.head.weight, network.head.bias)))
        after = self.solve(embedded, before)
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(after.weight))
            network.head.bias.copy_(torch.from_numpy(after.bias))


def parted(
    contents: list[str], strata: NDArray[np.int64], trained: NDArray[np.bool_], share: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts images by a hash of their content, within each stratum, the same on every machine.

    Of two images or more of a stratum at least one is on each side; a single one is on both, so that neither the
    network nor its last layer never sees its cell.

    Args:
        contents: What each image is: its pixel digest `[N]`.
        strata: `[N]`.
        trained: Which images take part `[N]`.
        share: That is held back, between 0 and 1.

    Returns:
        Which images the network sees, and which are held back, `[N]` each.
    """
    order = np.array(
        [int.from_bytes(hashlib.sha256(f"held back {text}".encode()).digest()[:8], "big") for text in contents],
        dtype=np.uint64,
    )
    seen, held = trained.copy(), np.zeros_like(trained)
    for stratum in np.unique(strata[trained]):
        members = np.flatnonzero(trained & (strata == stratum))
        members = members[np.argsort(order[members], kind="stable")]
        num = int(np.clip(round(share * len(members)), 1, max(len(members) - 1, 1)))
        held[members[:num]] = True
        if len(members) > 1:
            seen[members[:num]] = False
    return seen, held


def embed(network: Network, batches: Iterable[Batch]) -> Embedded:
    """Returns what the last layer sees of all images whose weight is not 0.

    Raises:
        RunError: If it is not finite, or there is no image.
    """
    device = network.head.weight.device
    found: list[list[NDArray[Any]]] = []
    with torch.no_grad():
        for batch in batches:
            known = batch["weight"] > 0
            features = network.embed(batch["image"].to(device)).float().cpu()
            columns = (features, batch["target"], batch["label"], batch["attributes"])
            found.append([column[known].numpy() for column in columns])
    if not found:
        raise RunError("the last layer cannot be fitted: no image was held back.")
    whole = [np.concatenate(column) for column in zip(*found, strict=True)]
    if not len(whole[0]) or not np.isfinite(whole[0]).all():
        reason = "the embedding is not finite" if len(whole[0]) else "no image that was held back can be decoded"
        raise RunError(f"the last layer cannot be fitted: {reason}.")
    return Embedded(whole[0].astype(np.float64), whole[1].astype(np.float64), label=whole[2], attributes=whole[3])
