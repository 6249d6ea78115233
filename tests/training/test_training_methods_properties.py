"""What holds for every method of the table, whatever the groups look like."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from interruptions import Moment, assert_same, end, found_by, go_on
from torch import Tensor
from toy_groups import CLASSES, Table, batch_of, begin, everything, manifest, method, sets_of_images
from training_places import Workplace

from evensight.compose import compose
from evensight.config import METHOD_SCHEMAS
from evensight.data.manifest import Manifest
from evensight.errors import UserError
from evensight.names import METHODS, resolve
from evensight.objective.objective import Objective
from evensight.run import Run
from evensight.training.checkpoint import read_checkpoint
from evensight.training.methods.base import Method, Phase

CONFIGS = Path(__file__).parent.parent.parent / "configs" / "method"
NAMES = list(METHODS)


def in_phase(name: str, wanted: int | None = None) -> tuple[Method, list[Phase]]:
    """A method that has seen all images in each phase before the wanted one, the last by default, and has begun it."""
    found = method(name)
    phases = found.phases()
    wanted = len(phases) - 1 if wanted is None else wanted
    for number, phase in enumerate(phases[: wanted + 1]):
        begin(found, phase)
        if number < wanted:
            found.loss(Table(logits(len(everything()), number)), batch_of(everything()))
    return found, phases


def logits(num: int, seed: int, scale: float = 3.0) -> Tensor:
    return scale * torch.randn((num, len(CLASSES)), generator=torch.Generator().manual_seed(seed))


def second_network(found: Method, num: int) -> None:
    """Has a second network answer any batch."""
    if getattr(found, "biased", None) is not None:
        found.biased = Table(logits(num, 9))


@pytest.mark.parametrize("name", NAMES)
def test_options_are_those_of_its_schema_and_its_file(name: str) -> None:
    kind = resolve(METHODS, "method.name", name)
    fields = {field.name: field.default for field in dataclasses.fields(METHOD_SCHEMAS[name])}
    written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert written == fields
    assert set(kind.allowed) == set(fields) - {"name"}
    assert {"label_smoothing", "class_weights"} <= set(kind.allowed)
    assert compose(["experiment=shapes", f"method={name}"]).method.name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_drawn_in_the_last_phase(name: str) -> None:
    """And every image; only last-layer methods hold some back, which their last layer sees."""
    found, phases = in_phase(name)
    weights = begin(found, phases[-1])
    trained = manifest().trained()
    if weights is None:
        return
    assert np.isfinite(weights).all() and weights.shape == trained.shape
    assert not weights[~trained].any()
    held: Any = getattr(found, "parts", lambda _: (trained, ~trained))(manifest())[1]
    assert (weights[trained & ~held] > 0).all()
    assert ((weights > 0) | held)[trained].all()


@pytest.mark.parametrize("images", list(sets_of_images()))
@pytest.mark.parametrize("name", NAMES)
def test_finite_and_every_image_is_learnt(name: str, images: str) -> None:
    """With an empty cell, cells of one image, an unknown level: each image has a gradient, padding has none."""
    found, phases = in_phase(name)
    batch = batch_of(sets_of_images()[images])
    for scale in (3.0, 1e4):
        table = Table(logits(len(batch["label"]), 5, scale))
        second_network(found, len(batch["label"]))
        loss = found.loss(table, batch)
        loss.backward()
        assert table.logits.grad is not None
        assert loss.isfinite() and table.logits.grad.isfinite().all()
        learnt = table.logits.grad.abs().sum(dim=1) > 0
        assert not learnt[batch["weight"] == 0].any()
        if scale == 3.0:
            assert learnt[batch["weight"] > 0].all()
        for _, buffer in found.named_buffers():
            assert buffer.isfinite().all()
    assert phases[-1].epochs is None  # what trainer.max_epochs leaves


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_losses_of_half_precision_are_those_of_single(name: str, dtype: torch.dtype) -> None:
    found, _ = in_phase(name)
    batch = batch_of(everything())
    given = logits(len(batch["label"]), 5).to(dtype)
    second_network(found, len(given))
    other = copy.deepcopy(found)
    half, single = found.loss(Table(given), batch), other.loss(Table(given.float()), dict(batch))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single)


@pytest.mark.parametrize("name", NAMES)
def test_state_of_an_image_is_written_by_that_image_alone(name: str) -> None:
    """Not by padding, whose index is -1, nor by an image of weight 0; the first of several views counts."""
    for wanted in range(len(method(name).phases())):
        found, _ = in_phase(name, wanted)
        assert set(found.per_image) <= {place for place, _ in found.named_buffers()}
        batch = batch_of([4, 7, 4, -1, 0, -1])  # 0 is broken: it has an index and weight 0
        second_network(found, 6)
        before = {place: found.get_buffer(place).clone() for place in found.per_image}
        found.loss(Table(logits(6, 1)), batch)
        for place, old in before.items():
            changed = (found.get_buffer(place) != old).view(len(old), -1).any(dim=1)
            rows = {int(batch["index"][row]) for row in (0, 1)}
            assert set(torch.nonzero(changed).flatten().tolist()) <= rows
        once, again = batch_of([4, 7]), in_phase(name, wanted)[0]
        second_network(again, 2)
        if getattr(found, "biased", None) is not None:
            again.biased.logits.data.copy_(found.biased.logits[:2])  # type: ignore[union-attr, operator]
        again.loss(Table(logits(6, 1)[:2]), once)
        for place in before:
            assert torch.equal(again.get_buffer(place), found.get_buffer(place)), place


FEW = (
    *("trainer.max_epochs=4", "trainer.checkpoint_every.steps=1", "reliance.cues=[border]", "ema.enabled=true"),
    *("reliance.every_n_epochs=9", "trainer.progress=false"),
)
SHORT = {"fg_ccdb": ("method.bias_epochs=1", "method.select_epochs=1")}
WHOLE: dict[str, Run] = {}


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory, data: tuple[Manifest, Objective]) -> Any:
    """Returns the run of a method that nobody ended."""

    def of(name: str) -> Run:
        if name not in WHOLE:
            place = Workplace(tmp_path_factory.mktemp(name), *data)
            WHOLE[name] = place.fit(f"method={name}", *FEW, *SHORT.get(name, ())).run
        return WHOLE[name]

    return of


def _when(name: str) -> list[Any]:
    """Those with state of their own for each change; the others, which have none or share it, by night."""
    return [] if name == "jtt" else [pytest.mark.slow] if name in ("lff", "group_dro") else [pytest.mark.nightly]


# Four epochs of four steps: 6 is within the first phase, or the only one, 14 within the last.
@pytest.mark.parametrize("batch", [pytest.param(6, marks=pytest.mark.nightly), 14])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=_when(name)) for name in NAMES],
)
def test_ended_within_a_phase_and_gone_on_with_to_the_bit(name: str, batch: int, place: Workplace, whole: Any) -> None:
    ended = end(place, Moment("on_train_batch_end", batch), f"method={name}", *FEW, *SHORT.get(name, ()))
    assert found_by(ended.run)["batches"] in (1, 2)
    go_on(place, ended)
    assert_same(whole(name), ended.run)


def test_what_the_first_phase_noted_is_in_the_checkpoint(whole: Any) -> None:
    """Else the run above would be the same by noting nothing at all."""
    state = read_checkpoint(whole("jtt").checkpoints / "last.ckpt")
    errors = state["state_dict"]["method.errors"]
    weights = state["phase"]["sample_weights"]
    assert 0 < int(errors.sum()) < len(weights)
    assert sorted(set(weights.tolist())) == [1.0, 50.0]
    assert int((weights == 50).sum()) == int(errors.sum())


def test_a_wrong_attribute_ends_the_run_before_it_trains(place: Workplace) -> None:
    with pytest.raises(UserError, match=r"method.attribute: 'colr' is not known; .* Did you mean 'colour'\?"):
        place.fit("method=group_dro", "method.attribute=colr")
    assert not list(place.folder.rglob("*.ckpt"))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["group_dro", "lff", "fg_ccdb", "lisa"])
def test_compiled_training_gives_the_figures_of_the_eager_one(name: str, place: Workplace, whole: Any) -> None:
    compiled = place.fit(f"method={name}", *FEW, *SHORT.get(name, ()), "trainer.compile=true").run
    expected, found = (read_checkpoint(run.checkpoints / "last.ckpt") for run in (whole(name), compiled))
    for key in ("train/loss", "val/loss"):
        assert float(found["callback_metrics"][key]) == pytest.approx(
            float(expected["callback_metrics"][key]), rel=0.02
        )


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision(name: str, place: Workplace) -> None:
    fitted = place.fit(f"method={name}", *FEW, *SHORT.get(name, ()), "trainer.precision=bf16-mixed")
    assert np.isfinite(fitted.result.metrics["val/loss"])
