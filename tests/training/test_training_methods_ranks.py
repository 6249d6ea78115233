"""Two processes that train one run by each method: the weights and the per-image state of one process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_groups import Tiny, facts, method

from evensight.cli import main
from evensight.names import METHODS
from evensight.run import Run
from evensight.training import classifier as room
from evensight.training.checkpoint import read_checkpoint
from evensight.training.classifier import Classifier

SMALL = (
    *("experiment=shapes", "data.num_train=320", "data.num_validation=67", "data.num_test=64", "model.size=24"),
    *("model.kwargs.channels=[8,16]", "model.kwargs.num_strided=2", "model.kwargs.norm=group", "data.batch_size=64"),
    *("data.eval_batch_size=64", "data.num_workers=0", "reliance.cues=[border]", "reliance.max_images=16"),
    *("reliance.donors_per_class=2", "reliance.every_n_epochs=9", "trainer=ddp_cpu", "trainer.num_threads=1"),
    *("trainer.max_epochs=3", "trainer.progress=false", "export=false"),
)
FIRST = {
    "jtt": ["method.identify_epochs=1"],
    "fg_ccdb": ["method.bias_epochs=1", "method.select_epochs=1"],
}
# What a method of several ranks sees is not the images of one: partners are of the same rank.
OTHER_IMAGES = ("lisa",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


def trained(folder: Path, name: str, num_ranks: int, *more: str) -> Run:
    runs = folder / f"{name}-{num_ranks}"
    places = [f"runs_dir={runs}", f"datasets_dir={folder / 'datasets'}", f"trainer.devices={num_ranks}"]
    assert main(["train", *SMALL, f"method={name}", *FIRST.get(name, ()), *places, *more]) == 0
    (found,) = (path.parent for path in runs.glob("shapes/2*/config.yaml"))
    return Run.open(found)


def state(run: Run) -> dict[str, Any]:
    return read_checkpoint(run.checkpoints / "last.ckpt")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("jtt", "group_dro") else pytest.mark.nightly)
        for name in METHODS
    ],
)
def test_two_ranks_train_as_one(name: str, folder: Path) -> None:
    """Exactly in what is noted of images, to rounding in weights; and no rank's notes are lost."""
    two = state(trained(folder, name, 2))
    assert all(value.isfinite().all() for value in two["state_dict"].values() if value.is_floating_point())
    if name in OTHER_IMAGES:
        return
    one = state(trained(folder, name, 1))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for key, value in one["state_dict"].items():
        other: Tensor = two["state_dict"][key]
        if value.is_floating_point():
            torch.testing.assert_close(value, other, rtol=2e-3, atol=2e-5, msg=lambda text, key=key: f"{key}: {text}")
        else:
            assert torch.equal(value, other), key
    drawn, others = one["phase"]["sample_weights"], two["phase"]["sample_weights"]
    assert (drawn is None) == (others is None)
    if drawn is not None:
        assert torch.equal(drawn, others)


def toy_classifier(name: str, seed: int = 1) -> Classifier:
    return Classifier(
        model={"backbone": "mlp"},
        classes=["a", "b", "c"],
        method={"name": name},
        optimizer={},
        schedule={},
        facts=dataclasses.asdict(facts()),
        seed=seed,
    )


def test_state_of_images_is_not_copied_from_the_first_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step, as torch copies all buffers: it is the same on each rank anyhow, and may be large."""
    monkeypatch.setattr(room, "build_network", lambda *_: (Tiny(), None))
    for name in METHODS:
        module = toy_classifier(name)
        module.setup("fit")
        expected = [f"method.{place}" for place in method(name).per_image]
        assert module._ddp_params_and_buffers_to_ignore == expected
        assert set(expected) <= {place for place, _ in module.named_buffers()}


def test_a_second_network_is_another_one_and_follows_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else ranks and resumed runs would begin with different ones; and the network's own weights stay what they are."""
    monkeypatch.setattr(room, "build_network", lambda *_: (Tiny(), None))
    one, same, other = (toy_classifier("lff", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    assert not torch.equal(one["method.biased.head.weight"], other["method.biased.head.weight"])
    assert not torch.equal(one["method.biased.head.weight"], one["network.head.weight"])
    assert torch.equal(one["network.head.weight"], toy_classifier("erm").state_dict()["network.head.weight"])
