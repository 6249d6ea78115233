"""What training sees of ignored cues: whose they are, how many images are changed, what is asked for and refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn
from training_places import Workplace

from evensight.compose import compose
from evensight.cues import build_cue, build_cues
from evensight.errors import UserError
from evensight.names import CUES, DESCRIBED_ONLY, FOCUS_METHODS, METHODS, REMOVABLE
from evensight.training.classifier import join_views
from evensight.training.focus.consistency import divergence
from evensight.training.focus.focused import Focused
from evensight.training.focus.randomize import AT_ONCE, ORDER, OWN_COLUMNS, in_order, noise_columns, randomized
from evensight.training.focus.settings import Focus, grey_gives_away, resolve
from evensight.training.methods.base import DataFacts
from evensight.training.methods.erm import ERM
from evensight.training.task import SingleLabel

NUM = 32


def coloured(num: int = NUM) -> Tensor:
    """Squares on grey, each of a hue of its own."""
    generator = torch.Generator().manual_seed(5)
    image = torch.full((num, 3, 16, 16), 100, dtype=torch.uint8)
    image[:, :, 4:12, 4:12] = torch.randint(0, 256, (num, 3, 1, 1), generator=generator, dtype=torch.uint8)
    return image


def batch(columns: int, num: int = NUM) -> dict[str, Any]:
    labels = torch.arange(num) % 3
    return {
        "image": coloured(num),
        "label": labels,
        "target": F.one_hot(labels, 3).float(),
        "weight": torch.ones(num),
        "noise": torch.rand(num, columns, generator=torch.Generator().manual_seed(1)),
        "extra": {},
        "index": torch.arange(num),
        "attributes": torch.zeros(num, 0, dtype=torch.int64),
    }


def focused(by: tuple[str, ...] = ("augment",), cues: tuple[str, ...] = ("colour",), strength: float = 1.0) -> Focused:
    facts = DataFacts(class_counts=[NUM] * 3, num_images=NUM)
    return Focused(ERM({}, SingleLabel(["a", "b", "c"]), facts), Focus(cues, by, strength))


class Pooled(nn.Module):
    """A network that sees the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(image.float().mean(dim=(2, 3)) / 255)


@pytest.mark.parametrize("name", ["colour", "brightness", "border", "texture"])
def test_every_image_gets_the_cue_of_another_and_each_cue_is_given_once(name: str) -> None:
    """By the definition: the donors are the batch sorted by a column of the noise."""
    cue = build_cue(name)
    num = 2 * AT_ONCE + 5  # donors in other parts than the image's
    given = batch(noise_columns([cue]), num)
    donors = np.argsort(given["noise"][:, 0].numpy())
    assert sorted(donors) == list(range(num))
    found = randomized(given, [cue], torch.ones(1), given["noise"])
    for image, donor, place in zip(found, donors, range(num), strict=True):
        alone = cue.randomize(
            given["image"][place : place + 1],
            given["image"][donor : donor + 1],
            given["noise"][place : place + 1, OWN_COLUMNS:],
            {},
            {},
        )
        assert torch.equal(image, alone[0])


def test_any_number_of_threads_makes_the_same_pixels() -> None:
    cues = build_cues(["texture", "brightness", "colour"])
    given = batch(noise_columns(cues), 3 * AT_ONCE + 1)
    before, found = torch.get_num_threads(), []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        try:
            found.append(randomized(given, cues, torch.ones(3), given["noise"]))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_forked_process_has_threads_of_its_own() -> None:
    """Those of its parent are not there, and would be waited for."""
    code = """
import os, sys, torch
from evensight.cues import build_cues
from evensight.training.focus.randomize import noise_columns, randomized

torch.set_num_threads(2)
cues = build_cues(["colour"])
given = {"image": torch.arange(64 * 3 * 64).to(torch.uint8).reshape(64, 3, 8, 8), "extra": {}}
noise = torch.rand(64, noise_columns(cues))
found = randomized(given, cues, torch.ones(1), noise)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0 if torch.equal(randomized(given, cues, torch.ones(1), noise), found) else 1)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=120, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_strength_is_the_share_of_images_that_are_changed(strength: float) -> None:
    given = batch(noise_columns(build_cues(["colour"])), num=256)
    found = randomized(given, build_cues(["colour"]), torch.tensor([strength]), given["noise"])
    whole = randomized(given, build_cues(["colour"]), torch.ones(1), given["noise"])
    chosen = given["noise"][:, 1] < strength
    assert torch.equal(found[~chosen], given["image"][~chosen])
    assert torch.equal(found[chosen], whole[chosen])
    assert abs(float(chosen.float().mean()) - strength) < 0.1


def test_randomized_colours_say_nothing_of_the_class() -> None:
    """Where hue and class are one, the hue after it is that of a donor of any class."""
    num = 300
    label = torch.arange(num) % 3
    image = torch.full((num, 3, 16, 16), 90, dtype=torch.uint8)
    for k in range(3):
        image[label == k, k, 4:12, 4:12] = 220
    given = batch(noise_columns(build_cues(["colour"])), num) | {"image": image}
    found = randomized(given, build_cues(["colour"]), torch.ones(1), given["noise"])
    shown = found[:, :, 8, 8].argmax(dim=1)
    table = np.zeros((3, 3))
    np.add.at(table, (label.numpy(), shown.numpy()), 1)
    from scipy.stats import chi2_contingency

    assert chi2_contingency(table).pvalue > 0.001
    assert (table > 15).all()


def test_masks_travel_with_their_donors() -> None:
    given = batch(noise_columns(build_cues(["background"])))
    mask = torch.zeros(NUM, 1, 16, 16, dtype=torch.uint8)
    mask[:, :, 4:12, 4:12] = 255
    ground = torch.arange(NUM, dtype=torch.uint8)[:, None, None, None] * 4
    image = torch.where(mask > 0, torch.full_like(ground, 250), ground).expand(-1, 3, -1, -1).contiguous()
    given |= {"image": image, "extra": {"mask": mask}}
    method = focused(cues=("background",))
    assert method.needs == ("mask",)
    (found,) = method.views(given)
    assert (found[:, :, 5:11, 5:11] == 250).all()
    donors = np.argsort(given["noise"][:, 0].numpy())
    assert np.array_equal(found[:, 0, 0, 0].numpy(), donors * 4)


def test_divergence_is_scipys() -> None:
    logits = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)) * 3
    first, second = logits.softmax(dim=1).chunk(2)
    expected = jensenshannon(first.numpy(), second.numpy(), axis=1) ** 2
    assert divergence(logits).numpy() == pytest.approx(expected, abs=1e-6)
    assert divergence(torch.cat([logits[:5], logits[:5]])).abs().max() < 1e-6


def test_consistency_sees_each_image_twice_and_pulls_the_answers_together() -> None:
    method, network = focused(("consistency",)), Pooled()
    given = batch(method.noise_size)
    assert method.noise_size == 2 * noise_columns(build_cues(["colour"]))
    views = method.views(given)
    assert len(views) == 2
    assert not torch.equal(views[0], views[1])
    joined = join_views(given, views)
    loss = method.loss(network, joined)
    logits = network(torch.cat(views))
    first, second = logits.detach().softmax(dim=1).chunk(2)
    expected = F.cross_entropy(logits, joined["label"]) + 4 * float(
        np.mean(jensenshannon(first.numpy(), second.numpy(), axis=1) ** 2)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert network.head.weight.grad is not None
    assert network.head.weight.grad.isfinite().all()


def test_all_cues_have_their_place_in_the_order() -> None:
    assert set(ORDER) == set(CUES) - set(DESCRIBED_ONLY)
    assert in_order(["colour", "background", "colour"]) == ("background", "colour")


def test_the_tables_that_need_no_torch_agree_with_what_they_name() -> None:
    assert set(REMOVABLE) == {name for name in CUES if build_cue(name).removable}
    assert {name for methods in FOCUS_METHODS.values() for name in methods} <= set(METHODS)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["focus=colour_of"], "Did you mean 'colour_off'?"),
        (["focus.ignore=[color]"], "Did you mean 'colour'?"),
        (["focus.ignore=[shape]"], "cannot be ignored"),
        (["focus.ignore=[colour,colour]"], "listed twice"),
        (["focus=colour_off", "focus.by=[augmnt]"], "Did you mean 'augment'?"),
        (["focus=colour_off", "focus.by=[]"], "names no way"),
        (["focus.by=[remove]"], "needs a cue to turn off"),
        (["focus=texture_off", "focus.by=[remove]"], "cannot be taken away"),
        (["focus=colour_off", "focus.by=[remove]", "focus.strength=0.5"], "whole"),
        (["focus=colour_off", "focus.strength=1.5"], "from 0 to 1"),
        (["focus.by=[groups]", "method=group_dro"], "leave one out"),
        (["focus.by=[groups,head]"], "leave one of the two out"),
        (["focus.attribute=colour"], "not asked for"),
        (["focus=auto", "focus.by=[remove]"], "sets a strength"),
        (["focus=auto", "focus.strength=0.5"], "leave it out"),
        (["focus=auto", "focus.keep=shape"], "leave out focus.keep"),
        (["focus=colour_off", "focus.groups=dro"], "focus.groups"),
    ],
)
def test_a_wrong_focus_is_one_sentence(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=".*".join(said.split())) as caught:
        compose(["experiment=shapes", *overrides])
    assert "\n" not in str(caught.value)


def test_shape_ignores_colour_alone_where_grey_says_nothing(place: Workplace) -> None:
    focus = resolve(place.config("focus=shape"), place.objective, place.manifest)
    assert focus.cues == ("colour",)
    assert focus.randomized == ("colour",)
    assert focus.removed == ()
    assert "stays" in focus.notes[0]
    assert grey_gives_away(place.manifest, place.config().data) < 0.25


def test_focus_is_recorded_and_read_back(place: Workplace) -> None:
    fitted = place.fit("focus=colour_off", "focus.trial=false")
    record = fitted.run.read_json("focus.json")
    assert record is not None
    assert record["settings"]["cues"] == ["colour"]
    assert Focus.from_plain(record["settings"]) == Focus(("colour",), ("augment",), 1.0)
    for pair in record["sees"]:
        assert (fitted.run.folder / pair["before"]).is_file()
        assert (fitted.run.folder / pair["after"]).is_file()


def test_a_background_needs_masks(place: Workplace) -> None:
    import dataclasses

    bare = dataclasses.replace(place.manifest, frame=place.manifest.frame.drop("mask"))
    with pytest.raises(UserError, match=r"needs a mask.*surround"):
        resolve(place.config("focus=background_off"), place.objective, bare)


def test_a_removed_cue_changes_no_answer(place: Workplace) -> None:
    """The network of `focus.by=[remove]` gives an image in any hue the answer it gives in grey."""
    fitted = place.fit("focus=colour_off", "focus.by=[remove]", "focus.trial=false")
    network, colour = fitted.result.network, build_cue("colour")
    images = torch.randint(0, 256, (16, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(network(images), network(colour.remove(images, {})))
        turned = colour.transplant("hue", images, images.flip(0), {}, {})
        # One grey level of rounding in a hue's luma is all that is left.
        assert (network(turned).argmax(1) == network(images).argmax(1)).float().mean() > 0.9


def test_no_audit_to_go_by(place: Workplace) -> None:
    with pytest.raises(UserError, match="has not been audited"):
        resolve(place.config("focus.ignore=[audit]"), place.objective, place.manifest)
