"""The networks of a trial: small, trained in seconds on a sample that lies in memory, by a plain loop."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from evensight.config import Config, ModelConfig
from evensight.cues import Cue
from evensight.data.dataset import plain_images
from evensight.data.manifest import Manifest
from evensight.models.backbones import build_network
from evensight.models.network import Network
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.focus.randomize import noise_columns, randomized
from evensight.training.optim import learning_rate_factor

LARGEST_SIDE = 64  # pixels; cues that a trial of seconds can tell are told at this size
BATCH_SIZE = 64
# Peak learning rate, weight decay and label smoothing of the shapes experiment, whose network this is.
PEAK_RATE, WEIGHT_DECAY, SMOOTHING = 6e-3, 0.02, 0.05
_WARMUP = 0.25
_DECODED = 128  # images decoded at once by a thread
_one_at_a_time = threading.Lock()  # torch's generator is the process's


@dataclass(frozen=True)
class Pictures:
    """Images of one split in memory.

    Attributes:
        images: uint8 `[N, 3, S, S]`.
        labels: int64 `[N]`.
        positions: Rows of the split `[N]`.
        extra: What the cues need, each `[N, ...]`.
    """

    images: Tensor
    labels: Tensor
    positions: NDArray[np.int64]
    extra: dict[str, Tensor]


def pictures(
    manifest: Manifest, split: str, positions: NDArray[np.int64], config: Config, size: int, needs: Sequence[str]
) -> Pictures:
    """Decodes the images at some positions of a split as evaluation sees them, less those that cannot be decoded.

    Args:
        manifest: The prepared data.
        split: Its name.
        positions: Rows of the split.
        config: How images are cropped, and how many threads decode.
        size: S.
        needs: Names of what the cues need.
    """
    spec = PreprocessSpec(size, config.model.crop_ratio or 1.0)
    dataset = plain_images(manifest, split, spec, config.data, needs)
    parts = [positions[start : start + _DECODED] for start in range(0, len(positions), _DECODED)]
    with ThreadPoolExecutor(max(1, config.data.num_workers)) as pool:
        batches = list(pool.map(lambda part: dataset.batch(0, part), parts))
    kept = [batch["weight"] > 0 for batch in batches]

    def joined(values: Sequence[Tensor]) -> Tensor:
        return torch.cat([value[keep] for value, keep in zip(values, kept, strict=True)])

    return Pictures(
        joined([batch["image"] for batch in batches]).contiguous(memory_format=torch.channels_last),
        joined([batch["label"] for batch in batches]),
        positions[torch.cat(kept).numpy()],
        {name: joined([batch["extra"][name] for batch in batches]) for name in needs},
    )


def fitted(
    sample: Pictures, num_classes: int, cues: Sequence[Cue], strength: float, num_steps: int, seed: int
) -> Network:
    """Trains a small network and returns it, in evaluation mode, on the CPU; several threads may do so at once.

    Args:
        sample: Training images.
        num_classes: K.
        cues: That are randomized, with donors from the same batch; none: the images as they are.
        strength: Share of the images that are changed.
        num_steps: Of `BATCH_SIZE` images; as many passes over the sample as that takes.
        seed: Of weights, order and noise; weights and order are the same whatever the cues are.
    """
    size = sample.images.size(2)
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kwargs = {} if size >= 8 else {"num_strided": 0}
        network, _ = build_network(ModelConfig(backbone="small_cnn", size=size, kwargs=kwargs), num_classes)
    order, noise = (torch.Generator().manual_seed(seed + stream) for stream in (1, 2))
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    strengths = torch.full((len(cues),), strength)
    rows = _order(len(sample.labels), num_steps, order)
    network.train()
    for step, chosen in enumerate(rows):
        factor = learning_rate_factor(step, num_steps, _WARMUP, 0.0, cosine=True)
        optimizer.param_groups[0]["lr"] = PEAK_RATE * factor
        image = sample.images[chosen]
        if cues:
            batch = {"image": image, "extra": {name: value[chosen] for name, value in sample.extra.items()}}
            columns = torch.rand((len(chosen), noise_columns(cues)), generator=noise)
            image = randomized(batch, cues, strengths, columns)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(image), sample.labels[chosen], label_smoothing=SMOOTHING)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def _order(num: int, num_steps: int, generator: torch.Generator) -> Tensor:
    """The images of each step `[num_steps, B]`: one shuffled pass after another, a partial batch left out."""
    batch_size = min(BATCH_SIZE, num)
    steps = num // batch_size
    passes = [
        torch.randperm(num, generator=generator)[: steps * batch_size].view(steps, batch_size)
        for _ in range(-(-num_steps // steps))
    ]
    return torch.cat(passes)[:num_steps]


@torch.inference_mode()
def right(network: Network, sample: Pictures) -> NDArray[np.bool_]:
    """Returns which images a network names rightly `[N]`."""
    if not len(sample.labels):
        return np.zeros(0, np.bool_)
    predictions = torch.cat([network(part).argmax(dim=1) for part in torch.split(sample.images, 256)])
    found: NDArray[np.bool_] = (predictions == sample.labels).numpy()
    return found
