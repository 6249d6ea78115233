"""Fits that turn cues off: gone on with to the bit, compiled, in half precision, by two processes; the steered one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import Moment, assert_same, end, go_on
from training_places import Workplace

from evensight.cli import main
from evensight.data.manifest import Manifest
from evensight.objective.objective import Objective
from evensight.records.artifact import Artifact
from evensight.run import Run
from evensight.training.checkpoint import read_checkpoint

FEW = (
    *(
        "trainer.max_epochs=4",
        "trainer.checkpoint_every.steps=1",
        "reliance.cues=[colour]",
        "reliance.every_n_epochs=9",
    ),
    *("trainer.progress=false", "focus.trial=false"),
)
WAYS: dict[str, tuple[str, ...]] = {
    "augment": ("focus=colour_off",),
    "half": ("focus=colour_off", "focus.strength=0.5"),
    "consistency": ("focus=colour_off", "focus.by=[consistency]"),
    "remove": ("focus.ignore=[colour,brightness]", "focus.by=[remove]"),
    "background": ("focus=background_off",),
    "texture": ("focus=texture_off",),
    "augment_and_groups": ("focus=colour_off", "focus.by=[augment,groups]"),
    "augment_and_lisa": ("focus=colour_off", "focus.by=[augment,groups]", "focus.groups=lisa"),
    "auto": ("focus=auto",),
    "auto_consistency": ("focus=auto", "focus.by=[consistency]"),
}
FAST = ("auto_consistency",)
WHOLE: dict[str, Run] = {}


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory, data: tuple[Manifest, Objective]) -> Any:
    """Returns the run of a way that nobody ended."""

    def of(name: str) -> Run:
        if name not in WHOLE:
            place = Workplace(tmp_path_factory.mktemp(name), *data)
            WHOLE[name] = place.fit(*WAYS[name], *FEW).run
        return WHOLE[name]

    return of


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.nightly) for name in WAYS]
)
def test_ended_within_an_epoch_and_gone_on_with_to_the_bit(name: str, place: Workplace, whole: Any) -> None:
    """Batch 14 is within the last of four epochs: a controller has had its say before it."""
    ended = end(place, Moment("on_train_batch_end", 14), *WAYS[name], *FEW)
    go_on(place, ended)
    assert_same(whole(name), ended.run)


def test_a_controller_records_its_moves(whole: Any) -> None:
    run = whole("auto")
    record = run.read_json("focus.json")
    assert record["settings"]["bounds"] == {"colour": 0.05}
    kept = read_checkpoint(run.checkpoints / "last.ckpt")["method"]["controller"]
    assert record["moves"] == kept["moves"]
    strength = read_checkpoint(run.checkpoints / "last.ckpt")["state_dict"]["method.strength"]
    moves = [move["strength"] for move in record["moves"]]
    assert float(strength) == (moves[-1] if moves else 0.0)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["augment", "consistency", "remove"])
def test_compiled_training_gives_the_figures_of_the_eager_one(name: str, place: Workplace, whole: Any) -> None:
    compiled = place.fit(*WAYS[name], *FEW, "trainer.compile=true").run
    expected, found = (read_checkpoint(run.checkpoints / "last.ckpt") for run in (whole(name), compiled))
    for key in ("train/loss", "val/loss"):
        assert float(found["callback_metrics"][key]) == pytest.approx(
            float(expected["callback_metrics"][key]), rel=0.02
        )


@pytest.mark.nightly
@pytest.mark.parametrize("name", list(WAYS))
def test_mixed_precision(name: str, place: Workplace) -> None:
    fitted = place.fit(*WAYS[name], *FEW, "trainer.precision=bf16-mixed")
    assert np.isfinite(fitted.result.metrics["val/loss"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["auto", pytest.param("consistency", marks=pytest.mark.nightly), pytest.param("remove", marks=pytest.mark.nightly)],
)
def test_two_ranks_end_with_the_same_strength_and_finite_weights(name: str, tmp_path: Path) -> None:
    """Donors are of the same rank, so weights differ from one rank's; what is decided may not differ between ranks."""
    small = (
        *("experiment=shapes", "data.num_train=320", "data.num_validation=67", "data.num_test=64", "model.size=24"),
        *("model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "data.batch_size=64", "data.num_workers=0"),
        *("reliance.max_images=16", "reliance.donors_per_class=2", "trainer=ddp_cpu", "trainer.num_threads=1"),
        *("export=false", f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}"),
    )
    assert main(["train", *small, *WAYS[name], *FEW, "trainer.devices=2", "trainer.max_epochs=2"]) == 0
    (folder,) = (path.parent for path in (tmp_path / "runs").glob("shapes/2*/config.yaml"))
    kept = read_checkpoint(Run.open(folder).checkpoints / "last.ckpt")
    assert all(value.isfinite().all() for value in kept["state_dict"].values() if value.is_floating_point())
    if name == "auto":
        assert float(kept["state_dict"]["method.strength"]) in (0.0, 0.5, 1.0)


def test_the_artifact_says_what_it_removes_and_sees_none_of_it(tmp_path: Path) -> None:
    """Through the exported file, loaded by plain torch: an image and its grey twin get the same answer."""
    from evensight.cues import build_cue
    from evensight.runtime import script

    small = (
        *("experiment=shapes", "data.num_train=256", "data.num_validation=64", "data.num_test=64", "model.size=24"),
        *("model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "data.batch_size=64", "data.num_workers=0"),
        *("reliance.max_images=16", "reliance.donors_per_class=2", "trainer=cpu", "trainer.max_epochs=1"),
        *(f"runs_dir={tmp_path / 'runs'}", f"datasets_dir={tmp_path / 'datasets'}", "test=false"),
    )
    assert main(["train", *small, "focus=colour_off", "focus.by=[remove]", "focus.trial=false"]) == 0
    artifact = Artifact.open(tmp_path / "runs" / "shapes" / "latest" / "artifact")
    assert [cue.name for cue in artifact.contract.removed] == ["colour"]
    model = script.load(artifact.model_path)
    images = torch.randint(0, 256, (8, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grey = build_cue("colour").remove(images, {})
    with torch.inference_mode():
        assert torch.equal(model.infer(images)["logits"], model.infer(grey)["logits"])
