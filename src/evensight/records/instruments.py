"""What an artifact brings to measure with: its donors, its cues and its probes, and what they say of images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evensight import names
from evensight.cues import Cue, build_cue
from evensight.cues.probe import Probe
from evensight.cues.reliance import DonorBank, Outcome, measure

if TYPE_CHECKING:
    from evensight.records.artifact import Artifact

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

    def outcomes(
        self,
        classes: Callable[[Tensor], Tensor],
        images: Tensor,
        predictions: Tensor,
        extra: Mapping[str, Tensor] | None = None,
    ) -> Outcomes:
        """Measures, by cue and operator, what transplants and placebos do to images; draws are keyed by the image.

        Args:
            classes: uint8 `[B, 3, S, S]` to the likeliest class, int64 `[B]`.
            images: uint8 `[B, 3, S, S]`, preprocessed.
            predictions: int64 `[B]`, what `classes` says of them.
            extra: What the cues need of them, each `[B, ...]`.
        """
        with torch.inference_mode():
            return {
                cue.name: measure(classes, images, predictions, self.bank, cue, self.seed, extra)
                for cue in self.cues
                if cue.operators
            }

    def described(self, images: Tensor, extra: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns, by cue, what it says of preprocessed images uint8 `[B, 3, S, S]`: float32 `[B, F]`."""
        with torch.inference_mode():
            return {cue.name: cue.describe(images, dict(extra or {})) for cue in self.cues}

    def rivals(self, described: Mapping[str, Tensor]) -> dict[str, NDArray[np.int64]]:
        """Returns, by cue with a probe, the class that the probe gives each described image, `[B]`."""
        with torch.inference_mode():
            return {
                name: probe.predict(described[name]).numpy() for name, probe in self.probes.items() if name in described
            }

    def joined(self, parts: Sequence[Outcomes]) -> Outcomes:
        """Puts the outcomes of batches one after another."""
        if not parts:
            none, empty = torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
            nothing = Outcome(none, none, empty, empty, empty)
            return {cue.name: dict.fromkeys(cue.operators, nothing) for cue in self.cues if cue.operators}
        return {
            cue: {operator: _chained([part[cue][operator] for part in parts]) for operator in operators}
            for cue, operators in parts[0].items()
        }


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


def _chained(parts: Sequence[Outcome]) -> Outcome:
    columns = ("moved_transplant", "moved_placebo", "donor", "donor_class", "placebo")
    return Outcome(*(torch.cat([getattr(part, column) for part in parts]) for column in columns))


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
