"""What every cue of the table promises, whatever it is about."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from evensight import names
from evensight.cues import build_cue
from evensight.cues.base import Cue

SIZES = (28, 64, 96)
FEATURES = {
    "colour": 23,
    "brightness": 36,
    "texture": 23,
    "background": 45,
    "surround": 45,
    "border": 64,
    "frame_size": 32,
    "shape": 53,
}


def images_of(side: int, num: int, seed: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns images with structure at every scale, and all that a cue may need of them."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(-60, 315, (num, 3, 5, 5)).astype(np.float32))
    pixels = torch.nn.functional.interpolate(coarse, size=[side, side], mode="bilinear")
    pixels = pixels + torch.from_numpy(rng.normal(0, 6, (num, 3, side, side)).astype(np.float32))
    mask = torch.zeros(num, 1, side, side, dtype=torch.uint8)
    for row, (top, left) in zip(mask, rng.integers(0, side // 2, (num, 2)), strict=True):
        row[:, top : top + side // 3, left : left + side // 3] = 255
        row[:, top + side // 3, left : left + side // 3] = 100
    size = torch.from_numpy(rng.integers(20, 3000, (num, 2)))
    return pixels.round().clamp(0, 255).to(torch.uint8), {"mask": mask, "size": size}


def everything(
    cue: Cue, image: Tensor, donor: Tensor, extra: dict[str, Tensor], other: dict[str, Tensor]
) -> list[Tensor]:
    """Calls all that the cue has; the noise is keyed by the image's own pixels."""
    noise = (image.flatten(1)[:, : cue.noise_size].float() / 256.0).contiguous()
    results = [cue.describe(image, extra), cue.reduce(image, extra)]
    if cue.operators:
        results.append(cue.randomize(image, donor, noise, extra, other))
    results += [cue.transplant(operator, image, donor, extra, other) for operator in cue.operators]
    if cue.removable:
        results.append(cue.remove(image, extra))
    return results


def chosen(extra: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in extra.items()}


def test_the_table_lists_these_cues_in_this_order():
    assert list(names.CUES) == list(FEATURES)
    for name in names.CUES:
        cue = build_cue(name)
        # Raised with every pixel and feature that changes: artifacts of one version are not measured by another.
        assert cue.name == name and cue.version == (3 if name == "colour" else 1)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("side", SIZES)
def test_an_image_is_the_same_in_any_batch_and_layout(name, side):
    cue = build_cue(name)
    images, extra = images_of(side, 20)
    donors, other = images.roll(1, 0), {key: value.roll(1, 0) for key, value in extra.items()}
    together = everything(cue, images, donors, extra, other)
    assert together[0].shape == (20, FEATURES[name])
    assert all(x.dtype == torch.uint8 and x.shape == images.shape for x in together[1:])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    for rows in [*order[:5].split(1), order[:7], order]:
        image = images[rows].contiguous(memory_format=torch.channels_last)
        apart = everything(cue, image, donors[rows], chosen(extra, rows), chosen(other, rows))
        for one, another in zip(together, apart, strict=True):
            assert torch.equal(one[rows], another)


@pytest.mark.parametrize("name", FEATURES)
def test_an_image_is_the_same_on_any_number_of_threads(name):
    cue = build_cue(name)
    images, extra = images_of(64, 40)
    donors, other = images.flip(0), {key: value.flip(0) for key, value in extra.items()}
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(everything(cue, images, donors, extra, other))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(one, another) for one, another in zip(results[0], others, strict=True))


class Said(torch.nn.Module):
    """What every cue has, for TorchScript."""

    def __init__(self, cue: Cue) -> None:
        super().__init__()
        self.cue = cue

    def forward(self, image: Tensor, extra: dict[str, Tensor]) -> list[Tensor]:
        return [self.cue.describe(image, extra), self.cue.reduce(image, extra)]


class Moved(torch.nn.Module):
    """What cues with operators have."""

    def __init__(self, cue: Cue) -> None:
        super().__init__()
        self.cue = cue
        self.operators = list(cue.operators)

    def forward(self, image: Tensor, donor: Tensor, noise: Tensor, extra: dict[str, Tensor]) -> list[Tensor]:
        results = [self.cue.randomize(image, donor, noise, extra, extra)]
        for operator in self.operators:
            results.append(self.cue.transplant(operator, image, donor, extra, extra))  # noqa: PERF401
        return results


class Removed(torch.nn.Module):
    """What removable cues have."""

    def __init__(self, cue: Cue) -> None:
        super().__init__()
        self.cue = cue

    def forward(self, image: Tensor, extra: dict[str, Tensor]) -> list[Tensor]:
        return [self.cue.remove(image, extra)]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("name", FEATURES)
def test_scripted_is_equal_and_takes_a_batch_of_none(name):
    cue = build_cue(name)
    kinds = [Said] + [Moved] * bool(cue.operators) + [Removed] * cue.removable
    for kind in kinds:
        plain = kind(cue)
        scripted = torch.jit.script(kind(cue))
        for count in (6, 1, 0):
            images, extra = images_of(28, 6)
            image, some = images[:count], {key: value[:count] for key, value in extra.items()}
            given = (image, image.flip(0), torch.zeros(count, cue.noise_size), some) if kind is Moved else (image, some)
            for _ in range(3):  # the profiling executor optimises after two calls
                for one, another in zip(plain(*given), scripted(*given), strict=True):
                    assert one.size(0) == count and torch.equal(one, another) and one.dtype == another.dtype


def extremes(side: int) -> Tensor:
    """Returns black, white, one grey, one colour, a step, a checkerboard of single pixels, noise, a single dot."""
    images = torch.zeros(8, 3, side, side, dtype=torch.uint8)
    images[1] = 255
    images[2] = 127
    images[3, 0] = 255
    images[4, :, :, side // 2 :] = 255
    images[5, :, ::2, ::2] = 255
    images[5, :, 1::2, 1::2] = 255
    images[6] = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, side, side), dtype=np.uint8))
    images[7, :, side // 2, side // 2] = 255
    return images


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("side", SIZES)
@pytest.mark.parametrize("cover", [0, 255])
def test_extreme_images_give_finite_features_and_pixels(name, side, cover):
    cue = build_cue(name)
    images = extremes(side)
    # Masks of nothing and of everything, sizes of nothing and of very much.
    mask = torch.full((8, 1, side, side), cover, dtype=torch.uint8)
    size = torch.full((8, 2), 2**24 if cover else 0)
    extra = {"mask": mask, "size": size}
    features = cue.describe(images, extra)
    assert torch.isfinite(features).all() and features.abs().max() <= 8
    for shift in range(8):
        for pixels in everything(cue, images, images.roll(shift, 0), extra, extra)[1:]:
            assert pixels.shape == images.shape and pixels.dtype == torch.uint8


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_small_on_common_images(name, drawn):
    features = build_cue(name).describe(drawn.images, drawn.extra)
    assert features.dtype == torch.float32
    assert features.abs().max() <= 4 and features.std(dim=0).max() <= 1


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in ("frame_size", "shape")])
def test_an_unknown_operator_is_refused(name, drawn):
    cue = build_cue(name)
    with pytest.raises(ValueError, match=f"the {name} cue has no operator shade; allowed: {', '.join(cue.operators)}"):
        cue.transplant("shade", drawn.images, drawn.images, drawn.extra, drawn.extra)


@pytest.mark.parametrize("name", ["brightness", "surround", "border"])
def test_an_image_that_is_its_own_donor_stays_as_it_is(name, drawn):
    cue = build_cue(name)
    for images, extra in ((drawn.images, drawn.extra), images_of(64, 20)):
        for operator in cue.operators:
            moved = cue.transplant(operator, images, images, extra, extra)
            assert (moved.int() - images.int()).abs().max() <= 1


@pytest.mark.parametrize("name", FEATURES)
def test_describe_changes_nothing_it_is_given(name):
    cue = build_cue(name)
    images, extra = images_of(64, 6)
    before, kept = images.clone(), {key: value.clone() for key, value in extra.items()}
    everything(cue, images, images.flip(0), extra, extra)
    assert torch.equal(images, before) and all(torch.equal(extra[key], kept[key]) for key in kept)
