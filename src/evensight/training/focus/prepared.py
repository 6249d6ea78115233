"""What a run's focus is: decided once, before the fit, and read back by whatever comes later."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evensight.config import Config
from evensight.cues import build_cues
from evensight.data.dataset import plain_images
from evensight.data.manifest import Manifest
from evensight.objective.objective import Objective
from evensight.ranks.group import leader_first
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.focus.randomize import noise_columns, randomized
from evensight.training.focus.record import FOCUS, focus_record, write_focus
from evensight.training.focus.settings import Focus, resolve
from evensight.training.focus.trial import enforce, refuse_essential, trial

log = logging.getLogger(__name__)

NUM_SHOWN = 8
NUM_DONORS = 64  # the batch that the shown images take their cues from


def prepare_focus(config: Config, run: Run, manifest: Manifest, objective: Objective) -> Focus:
    """Returns the focus that a run has recorded, else decides on one and records it with pictures of what it does.

    Args:
        config: Checked.
        run: Gets `focus.json` and `pictures/focus/`, where anything is turned off.
        manifest: Prepared.
        objective: Resolved.

    Raises:
        UserError: The focus cannot be carried out, or a trial shows that the objective needs what it turns off.
    """
    if not _asked(config):
        return Focus()
    with leader_first():  # one rank decides, the others read
        if run.read_json(FOCUS) is None:
            _decide(config, run, manifest, objective)
    return recorded_focus(run)


def recorded_focus(run: Run) -> Focus:
    """Returns the focus of a run that has begun; one that turns nothing off where none was recorded."""
    found = run.read_json(FOCUS)
    return Focus() if found is None else Focus.from_plain(found["settings"])


def _asked(config: Config) -> bool:
    focus = config.focus
    return bool(focus.ignore or focus.keep or focus.auto) or focus.by != ["augment"]


def _decide(config: Config, run: Run, manifest: Manifest, objective: Objective) -> None:
    focus = resolve(config, objective, manifest)
    for note in focus.notes:
        log.info("focus: %s", note)
    found = None
    if config.focus.trial and (focus.randomized or focus.removed):
        found = trial(manifest, objective, build_cues(focus.cues), config, config.seed)
        enforce(found, config.focus.force)
    else:
        refuse_essential(objective, focus.cues, config.focus.force)
    before, after = examples(focus, manifest, config)
    write_focus(run, focus_record(focus.plain(), None if found is None else found.to_json()), before, after)
    ways = " and ".join(focus.by)
    if focus.cues:
        log.info("focus: ignores %s by %s", ", ".join(focus.cues), ways)


def examples(focus: Focus, manifest: Manifest, config: Config) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Returns training images, and the same as training sees them: uint8 `[N, 3, S, S]`.

    Args:
        focus: What is turned off.
        manifest: With training images.
        config: Of the data, and the side of the pictures.

    Returns:
        The images as they are; by `<cue> by augment`, and by `removed`, what becomes of them.
    """
    cues, removed = build_cues(focus.randomized), build_cues(focus.removed)
    needs = sorted({name for cue in cues for name in cue.needs})
    images = plain_images(manifest, "train", PreprocessSpec(config.model.size or 64, 1.0), config.data, needs)
    places = np.flatnonzero(images.usable)
    drawn = np.random.default_rng(config.reliance.seed).permutation(places)[:NUM_DONORS]
    batch: dict[str, Any] = images.batch(0, drawn)
    batch["image"] = batch["image"].contiguous()
    after: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(config.reliance.seed)
    for cue in cues:
        noise = torch.rand(len(drawn), noise_columns([cue]), generator=generator)
        after[cue.name] = randomized(batch, [cue], torch.ones(1), noise)[:NUM_SHOWN]
    if removed:
        seen = batch["image"][:NUM_SHOWN]
        for cue in removed:
            seen = cue.remove(seen, {})
        after["removed"] = seen
    return batch["image"][:NUM_SHOWN], after
