"""What reliance is measured with: cues, donors drawn once before the fit, a fixed sample of validation images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from evensight import names
from evensight.config import Config
from evensight.cues import Cue, build_cues
from evensight.cues.named import named_cues
from evensight.cues.reliance import DonorBank, draw_bank
from evensight.data.dataset import Batch, ImageDataset, known_extra, plain_images
from evensight.data.manifest import Manifest
from evensight.files import replaced
from evensight.objective.objective import Objective
from evensight.ranks.group import leader_first
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec

log = logging.getLogger(__name__)

# Images on which a cue is measured that nothing names: a quarter of the time, and twice the width, of 1,000.
FEW = 256


def donors_file(run: Run) -> Path:
    """Returns where a run keeps its donors."""
    return run.folder / "donors.safetensors"


def measured_cues(config: Config, objective: Objective, manifest: Manifest) -> list[Cue]:
    """Returns the cues that training measures: those named, and unless `reliance.cues` lists some, all others.

    A cue with a name that the images come without is named in the log. `surround` stands in for `background` where no
    mask is known: where both are there, it is left out unless it is named.
    """
    named = named_cues(config, objective.cue_names())
    found = available_cues([cue for cue in build_cues(named) if cue.operators], manifest)
    if config.reliance.cues:
        return found
    others = [name for name in names.CUES if name not in (*named, *names.DESCRIBED_ONLY)]
    known = [cue for cue in build_cues(others) if not lacking_needs(cue, manifest)]
    masked = any(cue.name == "background" for cue in [*found, *known])
    return found + [cue for cue in known if not (masked and cue.name == "surround")]


def available_cues(cues: Sequence[Cue], manifest: Manifest) -> list[Cue]:
    """Returns the cues whose needs the images come with, and names the others in the log."""
    found = []
    for cue in cues:
        if lacking := lacking_needs(cue, manifest):
            log.warning("reliance on %s is not measured: these images come without %s", cue.name, ", ".join(lacking))
        else:
            found.append(cue)
    return found


def lacking_needs(cue: Cue, manifest: Manifest) -> list[str]:
    """Returns which of a cue's needs are known of no image."""
    return [name for name in cue.needs if name not in known_extra(manifest)]


def prepare_bank(config: Config, run: Run, manifest: Manifest, spec: PreprocessSpec, cues: Sequence[Cue]) -> DonorBank:
    """Returns the donors of a run: those it has drawn, else new ones, written to its folder.

    Args:
        config: Seed and number of donors.
        run: The run folder.
        manifest: Training images.
        spec: What the network wants of an image.
        cues: Whose needs are kept with the donors.
    """
    path = donors_file(run)
    with leader_first():  # one rank draws, the others read what it drew
        if not path.is_file():
            _draw_bank(config, manifest, spec, cues, path)
    return DonorBank.from_state(load_file(path))


def _draw_bank(config: Config, manifest: Manifest, spec: PreprocessSpec, cues: Sequence[Cue], path: Path) -> None:
    settings = config.reliance
    dataset = images_of(config, manifest, "train", spec, cues)
    usable = np.flatnonzero(dataset.usable)
    image_bytes = 3 * spec.size * spec.size
    drawn = draw_bank(
        dataset.labels[usable], len(manifest.classes), settings.donors_per_class, settings.seed, image_bytes
    )
    batch = decoded(dataset, usable[drawn])
    bank = DonorBank(batch["image"].contiguous(), batch["label"], batch["index"], batch["extra"])
    with replaced(path) as temporary:
        save_file(bank.state(), temporary)


@dataclass(frozen=True)
class Sample:
    """Validation images on which reliance is measured, the same in every epoch.

    Attributes:
        images: uint8 `[N, 3, S, S]`.
        labels: int64 `[N]`.
        attributes: int64 `[N, A]`, -1 unknown.
        extra: What the cues need of the images, each `[N, ...]`.
        few: int64, positions of the part on which a cue is measured that nothing names.
    """

    images: Tensor
    labels: Tensor
    attributes: Tensor
    extra: Mapping[str, Tensor]
    few: Tensor


def validation_sample(config: Config, manifest: Manifest, spec: PreprocessSpec, cues: Sequence[Cue]) -> Sample:
    """Draws the fixed sample of validation images, `reliance.max_images` at most."""
    dataset = images_of(config, manifest, "validation", spec, cues)
    usable = np.flatnonzero(dataset.usable)
    order = np.random.default_rng(config.reliance.seed).permutation(len(usable))[: config.reliance.max_images]
    batch = decoded(dataset, usable[np.sort(order)])
    few = torch.from_numpy(np.flatnonzero(np.isin(np.sort(order), order[:FEW])))
    few = few[few < batch["image"].size(0)]  # an image may have broken since
    return Sample(batch["image"].contiguous(), batch["label"], batch["attributes"], batch["extra"], few)


def images_of(
    config: Config, manifest: Manifest, split: str, spec: PreprocessSpec, cues: Sequence[Cue]
) -> ImageDataset:
    """Returns a split as evaluation sees it, with what the cues need."""
    needs = sorted({name for cue in cues for name in cue.needs})
    return plain_images(manifest, split, spec, config.data, needs)


def decoded(dataset: ImageDataset, positions: NDArray[np.int64]) -> Batch:
    """Returns the images at `positions` less those that have broken since the data was prepared."""
    batch = dataset.batch(0, positions)
    kept = batch["weight"] > 0
    chosen = {name: value[kept] for name, value in batch.items() if isinstance(value, torch.Tensor)}
    return {**chosen, "extra": {name: value[kept] for name, value in batch["extra"].items()}}
