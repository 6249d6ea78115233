"""Builds what watches the cues in training: which, how closely, in which classes and groups, and when it warns."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evensight.config import Config
from evensight.cues import Cue
from evensight.cues.named import named_cues
from evensight.cues.reliance import DonorBank
from evensight.data.manifest import Manifest
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.callbacks.reliance_monitor import RelianceMonitor, Watched
from evensight.training.cue_figures import USUAL_LEVEL
from evensight.training.cue_says import cue_says
from evensight.training.donors import Sample, validation_sample


def reliance_monitor(
    config: Config,
    run: Run,
    manifest: Manifest,
    objective: Objective,
    spec: PreprocessSpec,
    bank: DonorBank,
    cues: Sequence[Cue],
) -> RelianceMonitor:
    """Returns the callback that measures what the network does with each cue; see `RelianceMonitor`."""
    sample = validation_sample(config, manifest, spec, cues)
    watched = Watched(
        closely=named_cues(config, objective.cue_names()),
        says=cue_says(config, run, manifest, spec, cues, sample),
        parts=parts_of(manifest, sample),
        levels=levels_of(cues, objective),
        ignored=config.focus.ignore,
    )
    settings = config.reliance
    return RelianceMonitor(
        cues,
        bank,
        sample,
        settings.seed,
        settings.every_n_epochs,
        objective.confidence,
        watched,
        config.data.eval_batch_size,
    )


def parts_of(manifest: Manifest, sample: Sample) -> dict[str, Tensor]:
    """Returns the images of each class and group, bool `[N]` by "class=circle", "colour=red"."""
    parts = {f"class={name}": sample.labels == k for k, name in enumerate(manifest.classes)}
    for column, (attribute, levels) in enumerate(manifest.levels.items()):
        level = sample.attributes[:, column]
        for index, name in enumerate(levels):
            parts.setdefault(f"{attribute}={name}", level == index)  # an attribute may be called class, too
    return parts


def levels_of(cues: Sequence[Cue], objective: Objective) -> dict[str, float]:
    """Returns the reliance on each cue that is tolerated: the objective's bound, else .10.

    Cues that the classes are made of (`essential_cues`) are left out: nobody is warned of them.
    """
    bounds = {
        requirement.cue: requirement.bound_value
        for requirement in objective.requirements
        if requirement.metric == "reliance" and requirement.bound_value is not None
    }
    return {cue.name: bounds.get(cue.name, USUAL_LEVEL) for cue in cues if cue.name not in objective.essential_cues}
