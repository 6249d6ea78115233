"""Reliance of an artifact, from its own donors alone, and what a model that sees one cue alone would say."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight import names
from evensight.cues import Cue, build_cue
from evensight.cues.probe import Probe
from evensight.cues.reliance import DonorBank, Outcome, measure
from evensight.records.artifact import Artifact
from evensight.testing.predictions import Batch, Progress, Served, Source, from_sources, judged, silent

log = logging.getLogger(__name__)

Outcomes = dict[str, dict[str, Outcome]]


@dataclass(frozen=True)
class Instruments:
    """What an artifact brings to measure with.

    Attributes:
        bank: Its donors.
        seed: Of the draws.
        cues: Those of this evensight that are what the artifact was written with.
        probes: By cue.
        missing: Why a cue of the artifact cannot be measured here.
    """

    bank: DonorBank
    seed: int
    cues: tuple[Cue, ...]
    probes: Mapping[str, Probe]
    missing: Mapping[str, str] = field(default_factory=dict)


def instruments(artifact: Artifact, known: Collection[str] = ()) -> Instruments:
    """Reads the donors and probes of an artifact and finds its cues; another version of a cue is not used.

    Args:
        artifact: Opened.
        known: What the images come with beside their pixels: of `mask`, `box`, `size`.
    """
    tensors = artifact.donors()
    bank = DonorBank.from_state(_under(tensors, "bank/"))
    cues: list[Cue] = []
    missing: dict[str, str] = {}
    for stated in artifact.contract.cues:
        if stated.name not in names.CUES:
            missing[stated.name] = f"this evensight has no cue {stated.name}"
            continue
        cue = build_cue(stated.name)
        if cue.version != stated.version or tuple(cue.operators) != stated.operators:
            missing[stated.name] = f"the artifact has version {stated.version} of the cue, this evensight {cue.version}"
        elif lacking := [name for name in cue.needs if name not in known]:
            missing[stated.name] = f"the cue needs the {' and the '.join(lacking)} of each image"
        elif lacking := [name for name in cue.needs if name not in bank.extra]:
            missing[stated.name] = f"the artifact's donors come without their {' and '.join(lacking)}"
        else:
            cues.append(cue)
    if len(torch.unique(bank.labels)) < 2:
        missing |= {cue.name: "the donors are all of one class" for cue in cues}
        cues = []
    probes = {cue.name: Probe.from_state(found) for cue in cues if (found := _under(tensors, f"probe/{cue.name}/"))}
    return Instruments(bank, artifact.contract.reliance.seed, tuple(cues), probes, missing)


def reliance_of(
    artifact: Artifact, images: Sequence[Source], batch_size: int | None = None, progress: Progress = silent
) -> Outcomes:
    """Measures an artifact's reliance on images without labels, from the artifact folder alone.

    Args:
        artifact: Opened.
        images: Files, their bytes, or RGB pixels uint8 [H, W, 3]; one that cannot be decoded is named in the log and
            left out.
        batch_size: Images a call of the model; changes no outcome.
        progress: Told of the images done.

    Returns:
        By cue and operator, the outcomes of the images that could be decoded, in their order: the same to the image as
        those of a verdict on the same images. A cue that needs more than pixels is named in the log and left out.
    """
    served, tools = Served(artifact), instruments(artifact)
    for cue, why in tools.missing.items():
        log.warning("reliance on %s is not measured: %s", cue, why)
    errors: dict[int, str] = {}
    load = from_sources(images, served.max_pixels)
    work = partial(measured, served, tools)
    parts = list(judged(served, load, len(images), work, errors, batch_size, progress, "measuring reliance"))
    for position, error in errors.items():
        log.warning("image %d left out of reliance: %s", position, error)
    return joined(tools, parts)


def measured(served: Served, tools: Instruments, batch: Batch, extra: Mapping[str, Tensor] | None = None) -> Outcomes:
    """Measures one batch; draws are keyed by the image, not by the batch.

    Args:
        served: The model.
        tools: Donors and cues.
        batch: Of B images.
        extra: What the cues need of them, each `[B, ...]`.
    """
    predictions = batch.probs.argmax(dim=1)
    with torch.inference_mode():
        return {
            cue.name: measure(served.classes, batch.images, predictions, tools.bank, cue, tools.seed, extra)
            for cue in tools.cues
            if cue.operators
        }


def joined(tools: Instruments, parts: Sequence[Outcomes]) -> Outcomes:
    """Puts the outcomes of batches one after another."""
    if not parts:
        none, empty = torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
        nothing = Outcome(none, none, empty, empty, empty)
        return {cue.name: dict.fromkeys(cue.operators, nothing) for cue in tools.cues if cue.operators}
    return {
        cue: {operator: _chained([part[cue][operator] for part in parts]) for operator in operators}
        for cue, operators in parts[0].items()
    }


def rivals(tools: Instruments, batch: Batch, extra: Mapping[str, Tensor] | None = None) -> dict[str, NDArray[np.int64]]:
    """Returns, by cue, the class that its probe gives each image, [B]; `extra` as of `measured`."""
    cues = {cue.name: cue for cue in tools.cues}
    with torch.inference_mode():
        return {
            name: probe.predict(cues[name].describe(batch.images, dict(extra or {}))).numpy()
            for name, probe in tools.probes.items()
        }


def _chained(parts: Sequence[Outcome]) -> Outcome:
    columns = ("moved_transplant", "moved_placebo", "donor", "donor_class", "placebo")
    return Outcome(*(torch.cat([getattr(part, column) for part in parts]) for column in columns))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
