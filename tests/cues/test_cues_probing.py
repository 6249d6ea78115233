"""One probe a cue for training, export and focus: if this fails, what a cue says depends on who asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from evensight.cues import build_cue
from evensight.cues.probe import fit_probe
from evensight.cues.probing import Described, describe, described, fit_probes, joined

CUES = [build_cue("colour"), build_cue("brightness"), build_cue("background")]


def batch(images: torch.Tensor, labels: torch.Tensor, weight: list[float] | None = None) -> dict[str, Any]:
    mask = torch.zeros((len(images), 1, *images.shape[2:]), dtype=torch.uint8)
    mask[:, :, 8:, 8:] = 255
    known = torch.ones(len(images)) if weight is None else torch.tensor(weight)
    return {"image": images, "label": labels, "weight": known, "extra": {"mask": mask}}


def test_images_of_weight_0_say_nothing_and_teach_nothing(coloured: tuple[torch.Tensor, ...]) -> None:
    images, labels, _ = coloured
    weight = [float(number % 3 > 0) for number in range(len(images))]
    kept = torch.tensor(weight) > 0
    found = described(CUES, batch(images, labels, weight))
    alone = described(CUES, batch(images[kept], labels[kept]))
    assert found.labels.tolist() == labels[kept].tolist()
    assert list(found.features) == ["colour", "brightness", "background"]
    for name, values in found.features.items():
        assert torch.equal(values, alone.features[name]), name


def test_a_cue_is_asked_with_what_it_needs_alone_whatever_the_layout(coloured: tuple[torch.Tensor, ...]) -> None:
    images, labels, _ = coloured
    known = batch(images, labels)["extra"]
    for cue in CUES:
        own = cue.describe(images.contiguous(), {name: known[name] for name in cue.needs})
        last = images.contiguous(memory_format=torch.channels_last)
        assert torch.equal(describe(cue, last, {**known, "size": torch.zeros(0)}), own)


def test_probes_of_batches_are_those_of_all_images_at_once(coloured: tuple[torch.Tensor, ...]) -> None:
    images, labels, _ = coloured
    parts = [described(CUES, batch(images[start : start + 29], labels[start : start + 29])) for start in (0, 29, 58)]
    seen = images[:87]
    assert joined(parts).labels.tolist() == labels[:87].tolist()
    found = fit_probes(parts, 8, seed=0)
    assert list(found) == ["colour", "brightness", "background"]
    for cue in CUES:
        extra = batch(seen, labels[:87])["extra"]
        whole = fit_probe(cue.describe(seen, {name: extra[name] for name in cue.needs}), labels[:87], 8, seed=0)
        for name, value in whole.state().items():
            assert torch.equal(found[cue.name].state()[name], value), (cue.name, name)


def test_nothing_to_learn_from() -> None:
    assert fit_probes([], 3, seed=0) == {}
    empty = Described(torch.zeros(0, dtype=torch.int64), {"colour": torch.zeros(0, 4)})
    with pytest.raises(ValueError, match="none"):
        fit_probes([empty], 3, seed=0)
