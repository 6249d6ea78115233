"""What reliance is measured with: cues, donors drawn once before the fit, a fixed sample of validation images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from evensight.config import Config
from evensight.cues import Cue, build_cues
from evensight.cues.reliance import DonorBank, draw_bank
from evensight.data.dataset import Batch, ImageDataset, plain_images
from evensight.data.manifest import Manifest
from evensight.files import replaced
from evensight.objective.objective import Objective
from evensight.ranks.group import leader_first
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec

log = logging.getLogger(__name__)


def donors_file(run: Run) -> Path:
    """Returns where a run keeps its donors."""
    return run.folder / "donors.safetensors"


def stated_cues(config: Config, objective: Objective) -> list[Cue]:
    """Returns the cues with operators that the configuration or a requirement names."""
    return [cue for cue in build_cues([*config.reliance.cues, *objective.cue_names()]) if cue.operators]


def available_cues(cues: Sequence[Cue], manifest: Manifest) -> list[Cue]:
    """Returns the cues whose needs the images come with, and names the others in the log."""
    columns = set(manifest.frame.columns)
    known = {"size"} | ({"mask"} & columns) | ({"box"} if "box_x0" in columns else set())
    found = []
    for cue in cues:
        lacking = [name for name in cue.needs if name not in known]
        if lacking:
            log.warning("reliance on %s is not measured: these images come without %s", cue.name, ", ".join(lacking))
        else:
            found.append(cue)
    return found


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
    dataset = _images(manifest, "train", spec, cues, config)
    usable = np.flatnonzero(dataset.usable)
    image_bytes = 3 * spec.size * spec.size
    drawn = draw_bank(
        dataset.labels[usable], len(manifest.classes), settings.donors_per_class, settings.seed, image_bytes
    )
    batch = _decoded(dataset, usable[drawn])
    bank = DonorBank(batch["image"].contiguous(), batch["label"], batch["index"], batch["extra"])
    with replaced(path) as temporary:
        save_file(bank.state(), temporary)


def validation_sample(
    config: Config, manifest: Manifest, spec: PreprocessSpec, cues: Sequence[Cue]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns a fixed sample of validation images, uint8 `[N, 3, S, S]`, and what the cues need of them."""
    dataset = _images(manifest, "validation", spec, cues, config)
    usable = np.flatnonzero(dataset.usable)
    order = np.random.default_rng(config.reliance.seed).permutation(len(usable))
    batch = _decoded(dataset, usable[np.sort(order[: config.reliance.max_images])])
    return batch["image"].contiguous(), batch["extra"]


def _images(manifest: Manifest, split: str, spec: PreprocessSpec, cues: Sequence[Cue], config: Config) -> ImageDataset:
    """The split as evaluation sees it, with what the cues need."""
    needs = sorted({name for cue in cues for name in cue.needs})
    return plain_images(manifest, split, spec, config.data, needs)


def _decoded(dataset: ImageDataset, positions: NDArray[np.int64]) -> Batch:
    """The images at `positions` less those that have broken since the data was prepared."""
    batch = dataset.batch(0, positions)
    kept = batch["weight"] > 0
    chosen = {name: value[kept] for name, value in batch.items() if isinstance(value, torch.Tensor)}
    return {**chosen, "extra": {name: value[kept] for name, value in batch["extra"].items()}}
