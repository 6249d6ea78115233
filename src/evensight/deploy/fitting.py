"""What is fitted on data before an export: a temperature on validation images, a probe a cue on training images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight import names
from evensight.config import Config
from evensight.cues import Cue, build_cue
from evensight.cues.probe import Probe, fit_probe
from evensight.data.dataset import ImageDataset
from evensight.data.loader import Loader
from evensight.data.manifest import Manifest
from evensight.models.network import Network
from evensight.objective.objective import Objective
from evensight.runtime.preprocess import PreprocessSpec

# A linear probe of a few dozen features gains nothing from more images than this.
MOST_PROBE_IMAGES = 20_000


def stated_cues(config: Config, objective: Objective) -> list[Cue]:
    """Returns the cues to measure: those of the configuration, then those that only a requirement names."""
    wanted = list(config.reliance.cues)
    for requirement in objective.requirements:
        wanted += [requirement.cue] if requirement.cue else []
        wanted += [rival for rival in requirement.over if rival in names.CUES]
    return [build_cue(name) for name in dict.fromkeys(wanted)]


def plain_loader(manifest: Manifest, split: str, spec: PreprocessSpec, config: Config) -> Loader:
    """Returns a loader over a split in its order, without augmentation."""
    dataset = ImageDataset(manifest, split, spec, None, config.seed, max_pixels=config.data.max_pixels)
    return Loader(dataset, config.data.eval_batch_size, False, False, config.seed, config.data.num_workers)


def judged(network: Network, loader: Loader) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns the logits [N, C] and labels [N] of every image that could be decoded."""
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    with torch.inference_mode():
        for batch in loader:
            known = batch["weight"] > 0
            logits.append(network(batch["image"])[known])
            labels.append(batch["label"][known])
    if not logits:
        return np.zeros((0, 1), np.float32), np.zeros(0, np.int64)
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()


def fit_probes(cues: Sequence[Cue], loader: Loader, num_classes: int, seed: int) -> dict[str, Probe]:
    """Fits, for each cue, what a model that sees this cue alone would say, on the first 20,000 images of a loader.

    Cues that need more of an image than its pixels are left out.
    """
    usable = [cue for cue in cues if not cue.needs]
    features: dict[str, list[Tensor]] = {cue.name: [] for cue in usable}
    labels: list[Tensor] = []
    seen = 0
    with torch.inference_mode():
        for batch in loader:
            known = batch["weight"] > 0
            labels.append(batch["label"][known])
            for cue in usable:
                features[cue.name].append(cue.describe(batch["image"][known], {}))
            seen += int(known.sum())
            if seen >= MOST_PROBE_IMAGES:
                break
    if not seen:
        return {}
    return {name: fit_probe(torch.cat(found), torch.cat(labels), num_classes, seed) for name, found in features.items()}
