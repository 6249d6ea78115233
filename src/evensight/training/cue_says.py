"""What each cue says of validation images: which of them contradict their label, and who would decide them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evensight.config import Config
from evensight.cues import Cue
from evensight.cues.probe import Probe
from evensight.cues.probing import describe, described, fit_probes
from evensight.data.manifest import Manifest
from evensight.data.mapped import mapped
from evensight.files import replaced
from evensight.ranks.group import leader_first
from evensight.run import Run
from evensight.runtime.preprocess import PreprocessSpec
from evensight.training.donors import Sample, images_of

# Training images that a probe learns from: a linear probe of a few dozen features needs no more.
MOST_PROBE_IMAGES = 2000
_BATCH = 128


@dataclass(frozen=True)
class Says:
    """What a cue says of N images.

    Attributes:
        agrees: bool `[N, K]`, whether the cue says that the image is of this class.
        against: bool `[N]`, whether it says another class than the label; such an image is bias-conflicting.
    """

    agrees: Tensor
    against: Tensor

    def counts(self, predictions: Tensor, labels: Tensor) -> tuple[int, int, int]:
        """Returns, of the images that contradict: those decided as the cue says, those decided right, and all.

        Args:
            predictions: int64 `[N]`.
            labels: int64 `[N]`.
        """
        followed = self.agrees.gather(1, predictions.unsqueeze(1)).squeeze(1) & self.against
        right = (predictions == labels) & self.against
        return int(followed.sum()), int(right.sum()), int(self.against.sum())

    def at(self, rows: Tensor) -> Says:
        """Returns the same of some of the images."""
        return Says(self.agrees[rows], self.against[rows])


def by_attribute(levels: Tensor, labels: Tensor, usual: Sequence[int]) -> Says:
    """Takes a known attribute for what the cue says: the classes whose usual level an image carries.

    Args:
        levels: int64 `[N]`, -1 unknown: such an image contradicts nothing.
        labels: int64 `[N]`.
        usual: Usual level of each class `[K]`, -1 where it has none.
    """
    table = torch.tensor(list(usual), dtype=torch.int64)
    known = levels >= 0
    agrees = known.unsqueeze(1) & (levels.unsqueeze(1) == table.unsqueeze(0))
    expected = table[labels]
    return Says(agrees, known & (expected >= 0) & (levels != expected))


def by_probe(said: Tensor, labels: Tensor, num_classes: int) -> Says:
    """Takes what a probe of the cue names for what the cue says; both int64 `[N]`."""
    return Says(torch.nn.functional.one_hot(said, num_classes).bool(), said != labels)


def cue_says(
    config: Config, run: Run, manifest: Manifest, spec: PreprocessSpec, cues: Sequence[Cue], sample: Sample
) -> dict[str, Says]:
    """Returns what each cue says of the sample, by its name.

    An attribute of the cue's name, or `<cue>_says` that an audit found, is believed where the data knows usual levels
    of it. For other cues a probe is fitted, once for a run, on at most 2,000 training images that it keeps in
    `cue_probes.safetensors`: 1 to 3 s for five cues at 64 x 64.
    """
    found: dict[str, Says] = {}
    for cue in cues:
        name = next((name for name in (cue.name, f"{cue.name}_says") if name in manifest.usual), None)
        if name is not None:
            column = list(manifest.levels).index(name)
            found[cue.name] = by_attribute(sample.attributes[:, column], sample.labels, manifest.usual[name])
    others = [cue for cue in cues if cue.name not in found]
    path = run.folder / "cue_probes.safetensors"
    with leader_first():  # one rank fits, the others read what it fitted
        if others and not path.is_file():
            _fit(config, manifest, spec, others, path)
    probes = _read(path) if others else {}
    for cue in others:
        if cue.name in probes:
            said = probes[cue.name].predict(describe(cue, sample.images, sample.extra))
            found[cue.name] = by_probe(said, sample.labels, len(manifest.classes))
    return found


def _fit(config: Config, manifest: Manifest, spec: PreprocessSpec, cues: Sequence[Cue], path: Path) -> None:
    dataset, seed = images_of(config, manifest, "train", spec, cues), config.reliance.seed
    parts = mapped(dataset, partial(described, cues), _BATCH, MOST_PROBE_IMAGES, seed)
    state: dict[str, Tensor] = {}
    for cue, probe in fit_probes(parts, len(manifest.classes), seed).items():
        state |= {f"{cue}/{name}": value.contiguous() for name, value in probe.state().items()}
    with replaced(path) as temporary:
        save_file(state, temporary)


def _read(path: Path) -> dict[str, Probe]:
    tensors = load_file(path)
    by_cue = itertools.groupby(sorted(tensors), key=lambda name: name.partition("/")[0])
    return {cue: Probe.from_state({name.partition("/")[2]: tensors[name] for name in group}) for cue, group in by_cue}
